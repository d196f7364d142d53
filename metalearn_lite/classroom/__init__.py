"""What a course needs: exercises that answer, checks that mark, variants by a seed.

How an assignment is marked
---------------------------

A check has two halves, and they never meet in one process while grading.

**Ask.** A *question* is a short function in a cell that is given: its positional parameters bear
the names of what the student wrote, its keyword-only parameters are plain numbers and tensors. It
makes whatever else the answer needs (a network, a generator, a method to be scored) by functions of
the package, calls the answer and returns numbers: ``def scores(nearest_mean, *, x, y, queries)``.
It knows no right answer.

**Judge.** A *check* is a function ``check(ask)`` in a cell of its own, with hidden lines if need
be. It draws the inputs, gets the numbers by ``ask(scores, x=x, y=y, queries=queries)``, computes
what is right itself, by its own functions and from its own seeds, and raises an
``AssertionError`` whose words name the symptom. The decorator ``mark`` runs it.

So an exercise is a name (the cell's), what is asked (questions), how inputs are made and how the
answer is judged and what messages say (checks). To exchange one, change these cells; nothing else
knows of it.

Who runs what where, while grading:

====================  ===========================================  ===============================
process               what runs in it                              what it knows
====================  ===========================================  ===============================
the grader            nbgrader; the given cells; each check in a   solutions, hidden checks, seeds,
                      copy of its own (``marking``, ``sandbox``)   the gradebook: all
the room              a clean interpreter behind walls             the given cells; the text of
                      (``grading``): the given cells, and          this student's cells, none of
                      nothing of the student                       which it runs
a copy of the room    for one check: closes what the exercise      as the room, and the numbers
                      closes, runs the student's cells that the    that it is asked about
                      answer needs, replies to questions, ends
====================  ===========================================  ===============================

Between a check and the copy that it asks goes text alone, read as JSON: numbers, truth values,
texts, lists, dictionaries, and tensors as type, shape and bytes (``channel``). Nothing is
unpickled. What is no number (a function, an object that equals everything) does not get through:
the check is told its kind, and the answer fails. A subclass arrives as the plain number that it
holds. A copy that says nothing, too much, or no JSON, that ends or does not end, fails its check.
The only thing that passes is a check that returns in the copy of the grader, and in that process
no line of a student has run.

In a student's notebook the same cells run in one copy of the kernel, which asks itself: the same
questions, the same messages. A student who deceives this check deceives nobody else.
"""

from metalearn_lite.classroom.exercises import attempt
from metalearn_lite.classroom.marking import NotYet, fresh_seeds, mark
from metalearn_lite.classroom.variants import Variant

__all__ = ["NotYet", "Variant", "attempt", "fresh_seeds", "mark"]

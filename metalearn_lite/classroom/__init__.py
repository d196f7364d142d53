"""What a course needs: exercises that answer, checks that mark, variants by a seed."""

from metalearn_lite.classroom.exercises import attempt
from metalearn_lite.classroom.marking import NotYet, fresh_seeds, mark
from metalearn_lite.classroom.variants import Variant

__all__ = [
    "NotYet",
    "Variant",
    "attempt",
    "fresh_seeds",
    "mark",
]

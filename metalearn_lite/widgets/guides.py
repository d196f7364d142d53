"""A guide to a table of methods that asks one question after the other, in the page."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from IPython.display import HTML

from metalearn_lite.arguments import check_kind
from metalearn_lite.widgets.comparisons import Table, columns_of, texts_of
from metalearn_lite.widgets.filling import filled


@dataclass(frozen=True)
class Question:
    """A question of the guide.

    Attributes:
        ask: its words.
        answers: each answer with the name of the question or the end that it leads to.
        statistics: answers that say which kind of score to read, with that kind.
    """

    ask: str
    answers: Mapping[str, str]
    statistics: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class End:
    """Where the guide ends: advice, and the rows of the table that it speaks of."""

    advice: str
    rows: Sequence[str] = ()


def guide(
    questions: Mapping[str, Question], ends: Mapping[str, End], *, scores: Table, label: str
) -> HTML:
    """Ask one question after the other, and end in rows of the table of methods.

    Args:
        questions: by name, the first one first.
        ends: by name.
        scores: as for ``results_table``.
        label: the name of the whole.

    Returns:
        The HTML to display. Its bytes depend on the arguments alone.

    Raises:
        ValueError: if an answer leads nowhere or back, something cannot be reached, or an end
            speaks of a row that the table does not have.
    """
    check_kind(Mapping, questions=questions, ends=ends)
    check_kind(Question, **questions)
    check_kind(End, **ends)
    _check_ways(questions, ends)
    _check_table(questions, ends, scores)
    data = {
        "questions": {name: asdict(question) for name, question in questions.items()},
        "ends": {name: asdict(end) for name, end in ends.items()},
        "columns": columns_of(scores),
        "rows": texts_of(scores),
    }
    return filled("guide", label, data, scripts=("controls",))


def _check_ways(questions: Mapping[str, Question], ends: Mapping[str, End]) -> None:
    """Go along all answers: each leads on, to a question not yet asked or to an end."""
    reached: set[str] = set()

    def follow(name: str, asked: tuple[str, ...]) -> None:
        if name in asked or name not in {**questions, **ends} or name in set(questions) & set(ends):
            raise ValueError(
                f"answers lead from {' to '.join(asked) or 'nowhere'} to {name!r}: expected a "
                "question that was not asked before, or an end"
            )
        reached.add(name)
        for after in questions[name].answers.values() if name in questions else ():
            follow(after, (*asked, name))

    follow(next(iter(questions), ""), ())
    left = {*questions, *ends} - reached
    if left or not all(question.answers for question in questions.values()):
        raise ValueError(f"no answer leads to {sorted(left)}, or a question has no answers")


def _check_table(questions: Mapping[str, Question], ends: Mapping[str, End], scores: Table) -> None:
    """What the guide says of the table is in it."""
    for name, question in questions.items():
        if set(question.statistics) - set(question.answers):
            raise ValueError(
                f"{name} has statistics for {list(question.statistics)}: expected some of its "
                f"answers, {list(question.answers)}"
            )
    texts = texts_of(scores)
    strange = {row for end in ends.values() for row in end.rows} - set(texts)
    kinds = {statistics for _, statistics in scores}
    other = {kind for one in questions.values() for kind in one.statistics.values()} - kinds
    if strange or other:
        raise ValueError(
            f"the table has no rows {sorted(strange)} and no statistics {sorted(other)}: expected "
            f"some of {list(texts)} and {sorted(kinds)}"
        )

"""A comparison of methods that a reader questions in the page: the order and the table.

All numbers are handed in by the chapter, from its ledger. The page draws, counts, sorts and
filters.
"""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from html import escape

from IPython.display import HTML
from torch import Tensor

from metalearn_lite.arguments import check_counts
from metalearn_lite.evaluation import Scores
from metalearn_lite.widgets.explorables import among, checked_colours
from metalearn_lite.widgets.filling import filled

Table = Mapping[tuple[str, str], Mapping[str, Scores]]


def order_of_methods(
    answers: Mapping[str, Tensor],
    *,
    questions: int,
    pair: tuple[str, str],
    counts: Sequence[int],
    count: int,
    colours: Mapping[str, str],
    label: str,
    trials: int = 2000,
    seed: int = 5,
) -> HTML:
    """Let the reader see how often the order of two methods flips, by the number of test tasks.

    A comparison draws that many tasks from all, with replacement: for each method its own, and
    the same for both. The order flips if the worse of the two, by all tasks, comes out ahead or
    level.

    Args:
        answers: for each method ``(tasks,)``, how many queries of each task it answered right,
            of the same tasks for all.
        questions: queries of a task, at most 255.
        pair: the two methods that are compared at the beginning.
        counts: numbers of test tasks to choose from, rising.
        count: the one at the beginning.
        colours: one for each method.
        label: the question, the name of the whole.
        trials: comparisons that are drawn.
        seed: of these draws; the page tells the same every time.

    Returns:
        The HTML to display. Its bytes depend on the arguments alone.

    Raises:
        ValueError: if the answers are not whole numbers of the same tasks, or a method, a colour
            or a count is missing.
    """
    _check_answers(answers, questions)
    check_counts(trials=trials)
    if set(pair) - set(answers) or pair[0] == pair[1]:
        raise ValueError(f"pair is {pair}: expected two different of {list(answers)}")
    check_counts(**{f"count {n:g}": n for n in among("count", count, counts)})  # type: ignore[arg-type]
    data = {
        "answers": {n: base64.b64encode(bytes(a.tolist())).decode() for n, a in answers.items()},
        "questions": questions,
        "pair": pair,
        "counts": list(counts),
        "count": count,
        "colours": checked_colours({name: colours.get(name, "none") for name in answers}),
        "trials": trials,
        "seed": seed,
    }
    return filled("judging", label, data, scripts=("controls", "figure"))


def results_table(
    scores: Table, costs: Mapping[str, Mapping[str, str]], *, label: str, caption: str = ""
) -> HTML:
    """Show a table of methods that sorts by any column and filters by kind of score and cost.

    The rows are in the HTML, so that the table can be read where no script runs.

    Args:
        scores: for each kind, as ``("1 shot", "inductive")``, the score of each method.
        costs: for each cost the numbers of the methods, as they are to be written.
        label: the name of the table.
        caption: what its numbers are, in a sentence.

    Returns:
        The HTML to display. Its bytes depend on the arguments alone.

    Raises:
        ValueError: if a method lacks a score or a cost, or a cost is no number.
    """
    columns = columns_of(scores) + [{"name": name, "cost": name} for name in costs]
    texts, values = texts_of(scores), {name: list(row) for name, row in means_of(scores).items()}
    for cost, by_method in costs.items():
        if set(by_method) != set(texts):
            raise ValueError(f"{cost} has {list(by_method)}: expected one for {list(texts)} each")
        for name in texts:
            texts[name].append(by_method[name])
            values[name].append(_number(cost, by_method[name]))
    data = {"columns": columns, "values": list(values.values())}
    page = filled("results", label, data, scripts=("controls",), caption=caption)
    rows = _rows([column["name"] for column in columns], texts)
    return HTML(page.data.replace("<!-- rows -->", rows))  # type: ignore[no-untyped-call]


def _check_answers(answers: Mapping[str, Tensor], questions: int) -> None:
    shapes = {tuple(given.shape) for given in answers.values()}
    whole = all(not given.is_floating_point() for given in answers.values())
    one = next(iter(shapes), ())
    if len(answers) < 2 or len(shapes) > 1 or len(one) != 1 or not one[0] or not whole:
        raise ValueError(
            f"got answers of {list(answers)} of shapes {sorted(shapes)}, whole numbers: {whole}; "
            "expected for two methods or more whole numbers, (tasks,), of the same tasks, and at "
            "least one task"
        )
    check_counts(questions=questions)
    fits = all(0 <= int(given.min()) <= int(given.max()) <= questions for given in answers.values())
    if not fits or questions > 255:
        raise ValueError(f"expected from 0 to {questions} right answers a task, at most 255")


def columns_of(scores: Table) -> list[dict[str, str]]:
    """Return what a page needs to know of the columns of scores."""
    return [
        {"name": f"{shots}, {statistics}", "shots": shots, "statistics": statistics}
        for shots, statistics in scores
    ]


def means_of(scores: Table) -> dict[str, list[float]]:
    """Return the mean of each score by method, or raise a ``ValueError`` if one is missing."""
    names = list(next(iter(scores.values()), {}))
    if not names or any(set(column) != set(names) for column in scores.values()):
        raise ValueError(
            f"scores have {[list(column) for column in scores.values()]}: expected the same "
            "methods for each kind of score, at least one"
        )
    means = {name: [column[name].mean for column in scores.values()] for name in names}
    if not all(math.isfinite(mean) for row in means.values() for mean in row):
        raise ValueError(f"the means are {means}: expected finite numbers")
    return means


def texts_of(scores: Table) -> dict[str, list[str]]:
    """Return each score as it is written, by method."""
    return {n: [column[n].percent() for column in scores.values()] for n in means_of(scores)}


def _number(cost: str, text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", str(text)):
        raise ValueError(f"{cost} is {text!r}: expected a number, as it is to be written")
    return float(text)


def _rows(heads: Sequence[str], texts: Mapping[str, Sequence[str]]) -> str:
    columns = "".join(
        f'<th scope="col"><button type="button">{escape(head)}</button></th>'
        for head in ("method", *heads)
    )
    body = "".join(
        f'<tr data-method="{escape(name)}"><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in cells)
        + "</tr>"
        for name, cells in texts.items()
    )
    return f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody>"

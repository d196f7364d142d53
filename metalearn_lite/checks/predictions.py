"""What a model carries along, and what its answers depend on.

Checks of a ``predict`` function, or of any function of a model and an episode: does it leave the
model as it was, do the answers belong to their queries, do they depend on other queries or on the
task before?
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from metalearn_lite.checks.gradients import in_double
from metalearn_lite.evaluation import Metric, Predict
from metalearn_lite.tasks import Episode
from metalearn_lite.unchanged import changed, copies


@dataclass(frozen=True)
class Answers:
    """What the answers of a ``predict`` function depend on.

    Attributes:
        transductive: whether the answer to a query changes with the other queries.
        follows_labels: share of queries whose answer moves on to the next class if the labels of
            the support set do: 1 if all is read off the examples, 0 if nothing is.
    """

    transductive: bool
    follows_labels: float


def check_unchanged(
    function: Callable[[Any, Episode], Any], model: nn.Module, episode: Episode
) -> None:
    """Check that a function of model and episode leaves the model as it was.

    Args:
        function: an objective or a ``predict`` function; it is given a copy of the model.
        model: the network.
        episode: one task or T of them.

    Raises:
        ValueError: if a parameter, a buffer, a mode (``train``, ``eval``) or what requires a
            gradient has changed.
    """
    model = copy.deepcopy(model)
    before, modes = copies(model), _modes(model)
    function(model, episode)
    if names := changed(before, model):
        raise ValueError(
            f"the function changes {names[0]!r} of the model, and {len(names) - 1} more: "
            "expected the model as it was, or one task leaks into the next. Adapt a copy "
            "(copy.deepcopy) or parameters by name (torch.func.functional_call); normalise "
            "without running statistics"
        )
    turned = [name for name, mode in _modes(model).items() if mode != modes.get(name)]
    if turned:
        raise ValueError(
            f"the function leaves {turned[0]!r} in another mode: expected train() or eval(), and "
            "requires_grad, as they were; set them back, or work on a copy"
        )


def check_predict(
    predict: Predict,
    model: Any,
    episode: Episode,
    *,
    other: Episode,
    inductive: bool | None = None,
    tolerance: float = 1e-6,
) -> Answers:
    """Check what the answers of a ``predict`` function depend on.

    They must follow the queries when these change places, and must not depend on the task that
    was answered before. Whether they depend on the other queries is reported.

    Args:
        predict: ``predict(model, episode)`` gives logits ``(m, ways)``, labels ``(m,)`` or values
            ``(m, outputs)``.
        model: what ``predict`` takes; of a network, a copy in float64 is used.
        episode: a single task with at least three queries, best not ``ways`` of them.
        other: another task.
        inductive: True if the answers must not depend on the other queries, False if they must.
        tolerance: differences below it, relative to the largest output, are rounding.

    Returns:
        What was found.

    Raises:
        ValueError: if one of these is not so, with got, expected and how to mend it.
    """
    m = len(episode.query_x)
    if episode.batch is not None or m < 3:
        raise ValueError(f"got {m} queries, tasks {episode.batch}: expected one task, 3 or more")
    other = in_double(None, other)[1]

    def answer(task: Episode, *, after: Episode | None = None) -> Tensor:
        copied, task = in_double(model, task)  # a copy for each answer
        if after is not None:
            predict(copied, after)
        return predict(copied, task).detach().cpu().double()

    first = answer(episode)
    size = tolerance * float(first.abs().max().clamp_min(1e-12))
    if len(first) != m:
        raise ValueError(
            f"predict gave {len(first)} answers for {m} queries: expected one row each, in "
            "argmax(dim=-1) and elsewhere the class is the last dimension"
        )

    if not torch.isfinite(first).all():
        raise ValueError(
            "the answers are not all finite: expected numbers; look for a class without an example "
            "in the support set, or lower the step size of the adaptation"
        )

    def differ(a: Tensor, b: Tensor) -> bool:
        return a.shape != b.shape or not torch.allclose(a, b, rtol=0, atol=size)

    if differ(first, answer(episode)):
        raise ValueError(
            "predict answers the same task in two ways: expected the same; draw from a generator "
            "that is seeded anew in each call, and turn dropout off"
        )
    order = torch.arange(m).roll(1)
    if differ(first[order], answer(_queries(episode, order.to(episode.query_x.device)))):
        raise ValueError(
            "the answers do not follow the queries when these change places: expected row i of "
            "the answers to belong to query i; look for an argmax over the wrong dimension"
        )
    if differ(first, answer(episode, after=other)):
        raise ValueError(
            "the answers depend on the task that was answered before: expected each task to begin "
            "from the same model; adapt a copy of it"
        )
    half = order.sort().values[: (m + 1) // 2]
    transductive = differ(first[half], answer(_queries(episode, half)))
    if inductive is not None and transductive == inductive:
        kind = "transductive" if transductive else "inductive"
        raise ValueError(
            f"the answers are {kind}: expected {'inductive' if inductive else 'transductive'} "
            "ones; say which in the report, or answer each query with the support set alone "
            "(statistics='support')"
        )
    return Answers(transductive, _follows(answer, first, episode))


def check_metric(metric: Metric, *, ways: int = 5, rows: int = 7) -> None:
    """Check an accuracy: 1 if all is right, 0 if nothing is, the same in any order of rows.

    Args:
        metric: ``metric(logits, labels)`` gives one number, from logits ``(rows, ways)``.
        ways: number of classes.
        rows: number of queries; another number than ``ways`` tells the two dimensions apart.

    Raises:
        ValueError: if it is not so.
    """
    if rows == ways:
        raise ValueError(f"rows and ways are both {ways}: expected different numbers")
    y = torch.arange(rows) * 2 % ways
    sure = torch.eye(ways)[y]
    half = torch.where((torch.arange(rows) < rows // 2)[:, None], sure, sure.roll(1, 1))
    order = torch.arange(rows - 1, -1, -1)
    cases = {
        "all answers right": (sure, y, 1.0),
        "all wrong": (sure.roll(1, 1), y, 0.0),
        f"{rows // 2} of {rows} right": (half, y, rows // 2 / rows),
        f"{rows // 2} of {rows} right, in another order": (half[order], y[order], rows // 2 / rows),
    }
    for name, (logits, labels, expected) in cases.items():
        try:
            got = float(metric(logits, labels))
        except (RuntimeError, IndexError) as error:
            raise ValueError(
                f"the metric fails on {rows} queries in {ways} ways ({error}): expected an argmax "
                "over the last dimension"
            ) from error
        if not abs(got - expected) < 1e-5:
            raise ValueError(
                f"with {name} the metric is {got:.3f}: expected {expected:.3f}; take the argmax "
                "over the last dimension and the mean over the rows"
            )


def _follows(answer: Callable[[Episode], Tensor], first: Tensor, episode: Episode) -> float:
    """Return the share of answers that move to the next class when the support labels do."""
    if episode.support_y.is_floating_point():
        return float("nan")
    ways = int(episode.support_y.max()) + 1
    moved = (episode.support_y + 1) % ways
    renamed = Episode(episode.support_x, moved, episode.query_x, episode.query_y)
    before, after = (a if a.ndim == 1 else a.argmax(dim=-1) for a in (first, answer(renamed)))
    return ((before + 1) % ways == after).double().mean().item()


def _queries(episode: Episode, rows: Tensor) -> Episode:
    chosen = episode.query_x[rows], episode.query_y[rows]
    return Episode(episode.support_x, episode.support_y, *chosen)


def _modes(model: nn.Module) -> dict[str, bool]:
    modes = {name or "the whole model": m.training for name, m in model.named_modules()}
    return modes | {f"gradient of {n}": p.requires_grad for n, p in model.named_parameters()}

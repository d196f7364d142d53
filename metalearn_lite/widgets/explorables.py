"""Problems of the chapters that a reader moves in the page: bowls and solution sets.

The chapter hands in its problem and its colours; the page computes the rest, by the formulas of
the chapter, in JavaScript that needs no kernel and no network. What it has computed stands in the
property ``values`` of the element, for tests.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from IPython.display import HTML
from torch import Tensor

from metalearn_lite.arguments import check_counts, check_not_negative, check_positive
from metalearn_lite.widgets.filling import filled

STARTS = ("joint training", "mean of the optima", "first-order MAML", "MAML")
Numbers = Tensor | Sequence[float]


def bowls(
    optima: Numbers,
    steepness: Numbers,
    *,
    inner_lr: float,
    colours: Mapping[str, str],
    label: str,
    most: float = 0.5,
) -> HTML:
    """Let the reader move bowls and the inner step size, and see where the starts go.

    Task i has the loss ½ h_i (θ - c_i)². A start is the mean of the optima weighted with h_i
    (joint training), 1 (mean of the optima), h_i (1 - α h_i) (first-order MAML) or
    h_i (1 - α h_i)² (MAML).

    Args:
        optima: ``(tasks,)``, c_i, from -2 to 2.
        steepness: ``(tasks,)``, h_i, from 0.2 to 8.
        inner_lr: α at the beginning.
        colours: the starts to show, names of ``STARTS``, each with its colour.
        label: the question, the name of the whole.
        most: the largest α.

    Returns:
        The HTML to display. Its bytes depend on the arguments alone.

    Raises:
        ValueError: if there are no tasks, or not one optimum and one steepness for each.
    """
    centres, bends = numbers("optima", optima, 1), numbers("steepness", steepness, 1)
    if not len(centres) == len(bends) > 0:
        raise ValueError(
            f"got {len(centres)} optima and {len(bends)} steepnesses: expected one of each a task"
        )
    if not all(abs(c) <= 2 for c in centres) or not all(0.2 <= h <= 8 for h in bends):
        raise ValueError(
            f"got optima {centres} and steepness {bends}: expected them from -2 to 2 and from 0.2 "
            "to 8, which is what the picture shows"
        )
    check_not_negative(inner_lr=inner_lr)
    check_positive(most=most)
    if inner_lr > most:
        raise ValueError(f"inner_lr is {inner_lr}: expected at most most={most}, or a larger most")
    tasks = [{"c": c, "h": h} for c, h in zip(centres, bends, strict=True)]
    data = {
        "bowls": tasks,
        "alpha": inner_lr,
        "most": most,
        "x": [-3, 3],
        "colours": checked_colours(colours, STARTS),
    }
    return filled("bowls", label, data, scripts=("controls", "figure"))


def solution_sets(
    slopes: Numbers,
    offsets: Numbers,
    *,
    start: Numbers,
    inner_lr: float,
    inner_steps: int,
    meta_lr: float,
    rounds: int,
    colours: Sequence[str],
    label: str,
    x: tuple[float, float],
    y: tuple[float, float],
) -> HTML:
    """Let the reader move Reptile's start over tasks that each a line of points solves.

    Task i has the loss ½ (a_i · θ - b_i)². In each outer step one task after the other is met,
    and θ goes a part of the way to where ``inner_steps`` gradient steps lead, a part that falls
    from ``meta_lr`` to 0.

    Args:
        slopes: ``(tasks, 2)``, a_i.
        offsets: ``(tasks,)``, b_i.
        start: ``(2,)``, θ at the beginning.
        inner_lr: α; α ‖a_i‖² is below 2, or the steps lead away from the line.
        inner_steps: k at the beginning, at most 30.
        meta_lr: ε at the beginning, at most 1.
        rounds: how often each task is met.
        colours: one for each task.
        label: the question, the name of the whole.
        x: from where to where θ₁ is shown.
        y: the same for θ₂.

    Returns:
        The HTML to display. Its bytes depend on the arguments alone.

    Raises:
        ValueError: if the shapes do not belong together, all lines are parallel, or a rate is
            out of its range.
    """
    lines, levels = numbers("slopes", slopes, 2), numbers("offsets", offsets, 1)
    if not len(lines) == len(levels) == len(colours) or len(lines[0]) != 2:
        raise ValueError(
            f"got slopes {lines}, offsets {levels} and {len(colours)} colours: expected "
            "(tasks, 2), (tasks,) and a colour for each task"
        )
    place = inside(numbers("start", start, 1), x, y)
    check_counts(inner_steps=inner_steps, rounds=rounds)
    check_positive(inner_lr=inner_lr, meta_lr=meta_lr)
    steepest = max(a * a + b * b for a, b in lines)
    if inner_lr * steepest >= 2 or meta_lr > 1 or inner_steps > 30:
        raise ValueError(
            f"got inner_lr {inner_lr}, meta_lr {meta_lr} and {inner_steps} inner steps: expected "
            f"below {2 / steepest:.3g}, at most 1, and at most 30"
        )
    if torch.linalg.matrix_rank(torch.tensor(lines, dtype=torch.float64)) < 2:
        raise ValueError(f"slopes are {lines}: expected lines that are not all parallel")
    shades = checked_colours(dict(zip(map(str, range(len(lines))), colours, strict=True)))
    tasks = [
        {"slope": slope, "offset": offset, "colour": colour}
        for slope, offset, colour in zip(lines, levels, shades.values(), strict=True)
    ]
    data = {
        "tasks": tasks,
        "start": place,
        "alpha": inner_lr,
        "steps": inner_steps,
        "rate": meta_lr,
        "rounds": rounds,
        "x": x,
        "y": y,
    }
    return filled("solution_sets", label, data, scripts=("controls", "figure"))


def numbers(name: str, values: Numbers, axes: int) -> list[Any]:
    """Return finite numbers in nested lists, or raise a ``ValueError`` that names them."""
    try:
        found = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} is {values!r}: expected numbers, a tensor or lists") from None
    if found.ndim != axes or not found.numel() or not found.isfinite().all():
        raise ValueError(
            f"{name} have shape {tuple(found.shape)}, all finite: {bool(found.isfinite().all())}; "
            f"expected finite numbers along {axes} axes"
        )
    listed: list[Any] = found.tolist()
    return listed


def inside(place: list[float], x: tuple[float, float], y: tuple[float, float]) -> list[float]:
    """Return a place in the plane that is within what is shown, or raise a ``ValueError``."""
    if len(place) != 2 or not (x[0] <= place[0] <= x[1] and y[0] <= place[1] <= y[1]):
        raise ValueError(f"start is {place}: expected two numbers, in {x} and in {y}")
    return place


def among(name: str, value: float, choices: Sequence[float]) -> list[float]:
    """Return what there is to choose from, or raise a ``ValueError``."""
    rising = sorted({choice for choice in choices if choice > 0})
    if value not in choices or rising != list(choices):
        raise ValueError(f"{name} is {value}: expected one of {list(choices)}, rising, above 0")
    return rising


def checked_colours(
    colours: Mapping[str, str], known: Collection[str] | None = None
) -> dict[str, str]:
    """Return colours in the order of the known names, or raise a ``ValueError`` for others."""
    strange = [name for name in colours if known is not None and name not in known]
    wrong = {n: c for n, c in colours.items() if not re.fullmatch("#[0-9a-fA-F]{6}", str(c))}
    if not colours or strange or wrong:
        raise ValueError(
            f"got colours for {list(colours)}, of which strange {strange or wrong}: expected "
            f"colours as '#0072B2' for {'each' if known is None else ', '.join(known)}"
        )
    return {name: colours[name] for name in known or colours if name in colours}

"""Landscapes on which a reader moves the start of a descent, and gradients that conflict.

Sum, PCGrad and MGDA are computed in the page, by ``templates/surgery.js``, which is held against
``metalearn_lite.multitask``; hypergradients of ridge regression by ``templates/penalties.html``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from IPython.display import HTML
from torch import Tensor

from metalearn_lite.arguments import check_counts, check_kind, check_positive
from metalearn_lite.widgets.explorables import Numbers, among, checked_colours, inside, numbers
from metalearn_lite.widgets.filling import filled

COMBINATIONS = ("sum", "PCGrad", "MGDA")


def directions(gradients: Numbers, *, colours: Mapping[str, str], label: str) -> HTML:
    """Let the reader move two gradients, and see what sum, PCGrad and MGDA make of them.

    Args:
        gradients: ``(2, 2)``, one row a task.
        colours: the ways to combine them, names of ``COMBINATIONS``, each with its colour.
        label: the question, the name of the whole.

    Returns:
        The HTML to display. Its bytes depend on the arguments alone.

    Raises:
        ValueError: if there are not two gradients in the plane, or one is zero.
    """
    rows = numbers("gradients", gradients, 2)
    if len(rows) != 2 or len(rows[0]) != 2 or not all(any(row) for row in rows):
        raise ValueError(f"gradients are {rows}: expected two rows of two numbers, neither zero")
    reach = 1.25 * max(torch.tensor(row).norm().item() for row in rows)
    data = {"gradients": rows, "reach": reach, "colours": checked_colours(colours, COMBINATIONS)}
    return filled("directions", label, data, scripts=("controls", "figure", "surgery"))


@dataclass(frozen=True)
class Valley:
    """A winding valley of two tasks or more, with a goal that they share.

    Task i has the loss l_i s(y - sin(bends x) - d_i) + pull √(1 + (x - goal)²), where
    s(u) = √(rounding + u²) is a wall with a rounded edge.

    Attributes:
        loudness: l_i, how steep the wall of each task is.
        sides: d_i, how far above the middle of the valley each task wants to be.
        bends: how fast the valley winds.
        goal: the x that all tasks want to reach.
        pull: how strongly.
        rounding: of the edge of the walls.
    """

    loudness: tuple[float, ...]
    sides: tuple[float, ...]
    bends: float
    goal: float
    pull: float
    rounding: float


def conflicts(
    valley: Valley,
    *,
    start: Numbers,
    lr: float,
    lrs: Sequence[float],
    steps: int,
    colours: Mapping[str, str],
    label: str,
    x: tuple[float, float],
    y: tuple[float, float],
) -> HTML:
    """Let the reader move the start of a descent by sum, PCGrad and MGDA on a landscape.

    Args:
        valley: the losses of the tasks.
        start: ``(2,)``, where all descents begin.
        lr: the step size at the beginning, one of ``lrs``.
        lrs: the step sizes to choose from, rising.
        steps: how many are taken.
        colours: the ways to combine gradients, names of ``COMBINATIONS``, each with its colour.
        label: the question, the name of the whole.
        x: from where to where x is shown.
        y: the same for y.

    Returns:
        The HTML to display. Its bytes depend on the arguments alone.

    Raises:
        ValueError: if the valley has not one side for each loudness, the start is not in what is
            shown, or ``lr`` is none of ``lrs``.
    """
    check_kind(Valley, valley=valley)
    loud, sides = numbers("loudness", valley.loudness, 1), numbers("sides", valley.sides, 1)
    if len(loud) != len(sides):
        raise ValueError(f"got {len(loud)} loudnesses and {len(sides)} sides: expected one a task")
    numbers("goal", [valley.goal], 1)
    check_positive(pull=valley.pull, rounding=valley.rounding, bends=valley.bends)
    check_counts(steps=steps)
    data = {
        "valley": asdict(valley),
        "start": inside(numbers("start", start, 1), x, y),
        "rate": lr,
        "rates": among("lr", lr, lrs),
        "steps": steps,
        "colours": checked_colours(colours, COMBINATIONS),
        "x": x,
        "y": y,
    }
    return filled("conflicts", label, data, scripts=("controls", "figure", "surgery"))


def penalties(
    *examples: tuple[Tensor, Tensor],
    groups: Numbers,
    axes: Mapping[str, tuple[float, float]],
    start: Numbers,
    lr: float,
    steps: int,
    colour: str,
    label: str,
) -> HTML:
    """Let the reader move the start of a descent on the validation loss over two penalties.

    The model is ridge regression: weights w of least mean squared error + Σ_i exp(s_g(i)) w_i² on
    the training examples. Adam takes steps on s, with the implicit derivative.

    Args:
        examples: of training, validation and test; each ``(n, inputs)`` and ``(n,)``.
        groups: ``(inputs,)`` of 0 and 1, which of the two penalties an input has.
        axes: for the logarithm of each penalty its name, and from where to where it is shown.
        start: ``(2,)``, where the descent begins.
        lr: the step size of Adam.
        steps: how many are taken.
        colour: of the path.
        label: the question, the name of the whole.

    Returns:
        The HTML to display. Its bytes depend on the arguments alone.

    Raises:
        ValueError: if there are not three sets of examples of as many inputs as ``groups``, or
            the start is not in what is shown.
    """
    check_counts(steps=steps)
    check_positive(lr=lr)
    which, parts = numbers("groups", groups, 1), [_moments(*part) for part in examples]
    sizes = [len(part["moment"]) for part in parts]
    if set(which) != {0, 1} or sizes != [len(which)] * 3 or len(axes) != 2:
        raise ValueError(
            f"got groups {which}, axes {list(axes)} and examples of {sizes} inputs: expected 0 or "
            "1 for each input, two axes, and examples for training, validation and test"
        )
    place = inside(numbers("start", start, 1), *axes.values())
    data = {"parts": parts, "groups": which, "axes": dict(axes), "start": place, "rate": lr}
    data |= {"steps": steps, "colour": checked_colours({"path": colour})["path"]}
    return filled("penalties", label, data, scripts=("controls", "figure"))


def _moments(inputs: Tensor, targets: Tensor) -> dict[str, Any]:
    """Return all that the mean squared error of a linear model needs to know of examples."""
    x = torch.tensor(numbers("inputs", inputs, 2), dtype=torch.float64)
    y = torch.tensor(numbers("targets", targets, 1), dtype=torch.float64)
    if len(x) != len(y):
        raise ValueError(f"got {len(x)} inputs and {len(y)} targets: expected one each")
    gram, moment, square = (x.T @ x / len(x), y @ x / len(x), y @ y / len(y))
    return {"gram": gram.tolist(), "moment": moment.tolist(), "square": square.item()}

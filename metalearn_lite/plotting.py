"""One look for all figures: a colour for each method, plain axes, images in rows.

Nothing is computed here. Functions draw into the axes they are given and return them.
The colours begin with those of Okabe and Ito (2008), which readers with any of the common
kinds of colour blindness can tell apart, and greys for what is no method. A relative of a
method has its hue in another lightness, which is what such readers tell it by: MAML and its
relatives are blue. All can be seen on white and, "from scratch" excepted, on black.

A figure is at most 6 inches wide and its letters have 9 points or more: on a telephone, where it
is made as wide as the text, they are then still some 8 pixels high.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib import rc_params_from_file
from matplotlib.axes import Axes
from torch import Tensor

from metalearn_lite.evaluation import Scores

PLACE = Path(__file__).parent
COLOURS: dict[str, str] = json.loads((PLACE / "colours.json").read_text(encoding="utf-8"))
MINUS = "\N{MINUS SIGN}"  # as matplotlib writes it beside the axes
UNNAMED = "#666666"  # what has no colour of its own must not pass for a method that has

STYLE = rc_params_from_file(PLACE / "plotting.mplstyle", use_default_template=False)


def use_style() -> None:
    """Set the look of all figures that follow; called once at the top of a chapter.

    A notebook keeps each of them twice: in pixels for the page, in lines for slides.
    """
    plt.rcParams.update(STYLE)
    if "inline" in plt.get_backend():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("png", "svg")  # type: ignore[no-untyped-call]


def show_images(ax: Axes, rows: Tensor, *, labels: Sequence[str] = ()) -> Axes:
    """Draw images in a grid, ink dark on light.

    Args:
        ax: where to draw.
        rows: ``(rows, columns, h, w)`` or ``(rows, columns, 1, h, w)``, in [0, 1].
        labels: a name for each row.
    """
    grid = rows.squeeze(2) if rows.ndim == 5 else rows
    if grid.ndim != 4 or len(labels) not in (0, len(grid)):
        raise ValueError(
            f"rows have shape {tuple(rows.shape)}, with {len(labels)} labels: expected "
            "(rows, columns, h, w) and one label a row, or none"
        )
    count, columns, h, w = grid.shape
    picture = grid.detach().cpu().permute(0, 2, 1, 3).reshape(count * h, columns * w)
    ax.imshow(picture.numpy(), vmin=0, vmax=1)
    ax.set_xticks([])
    ax.set_yticks([h * (i + 0.5) for i in range(len(labels))], labels)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for edge in range(1, columns):
        ax.axvline(w * edge - 0.5, color="white", linewidth=2)
    for edge in range(1, count):
        ax.axhline(h * edge - 0.5, color="white", linewidth=2)
    return ax


def score_bars(ax: Axes, scores: Mapping[str, Scores], *, chance: float | None = None) -> Axes:
    """Draw accuracies as points with their 95 % intervals, one method a line.

    Args:
        ax: where to draw.
        scores: method to accuracy; the first stands on top. What has no colour is grey.
        chance: accuracy of guessing, drawn as a dotted line.
    """
    for position, (name, score) in enumerate(scores.items()):
        colour = COLOURS.get(name, UNNAMED)
        intervals(ax, {name: score}, label="_no legend", colour=colour, shift=-position)
    ax.set_yticks([-i for i in range(len(scores))], list(scores))
    ax.set_ylim(-len(scores) + 0.5, 0.5)
    if chance is not None:
        ax.axvline(100 * chance, linestyle=":", color=COLOURS["guessing"])
        ax.annotate(
            "guessing", (100 * chance, 0.45), textcoords="offset points", xytext=(4, -9), fontsize=9
        )
    ax.set_xlabel("accuracy on query images (%)")
    return ax


def intervals(
    ax: Axes,
    scores: Mapping[str, Scores],
    *,
    label: str,
    colour: str,
    marker: str = "o",
    shift: float = 0.0,
) -> Axes:
    """Draw points with their 95 % intervals in percent, one name a line; call it once a group.

    Args:
        ax: where to draw.
        scores: the name of the line to its score; the first stands on top.
        label: the group, for the legend.
        colour: of the group.
        marker: of the group, so that groups can be told apart without colour.
        shift: lines upwards, so that groups do not cover each other.
    """
    for position, score in enumerate(scores.values()):
        x, y, width = 100 * score.mean, shift - position, 100 * score.half_width
        legend = None if position else label
        ax.errorbar(x, y, xerr=width, fmt=marker, capsize=4, color=colour, label=legend)
    ax.set_yticks([-i for i in range(len(scores))], list(scores))
    return ax


def band(
    ax: Axes,
    x: Sequence[float],
    scores: Sequence[Scores],
    *,
    label: str,
    scale: float = 1,
    colour: str | None = None,
    line: str = "-",
) -> Axes:
    """Draw a curve of means with its 95 % band.

    Args:
        ax: where to draw.
        x: one position for each score.
        scores: what to draw.
        label: the method's name, for its colour and for the legend.
        scale: 100 to draw accuracies in percent.
        colour: for a label that has none; without it such a label is grey.
        line: matplotlib's style of the line, such as ``--``, with a marker if it is to have one.
    """
    mean = [scale * s.mean for s in scores]
    low, high = ([scale * (s.mean + side * s.half_width) for s in scores] for side in (-1, 1))
    (curve,) = ax.plot(x, mean, line, label=label, color=colour or COLOURS.get(label, UNNAMED))
    ax.fill_between(x, low, high, alpha=0.2, linewidth=0, color=curve.get_color())
    return ax


def matrix(
    ax: Axes,
    values: Mapping[tuple[str, str], float],
    names: Sequence[str],
    *,
    limit: float,
    digits: int = 1,
    bold: Collection[tuple[str, str]] = (),
) -> Axes:
    """Draw numbers for pairs of names as a coloured table, rows first.

    Args:
        ax: where to draw.
        values: a number for some pairs ``(row, column)``; the others stay empty.
        names: of the rows and, in the same order, of the columns.
        limit: the number, and its negative, with the strongest colour.
        digits: after the point.
        bold: pairs to emphasise.
    """
    table = [[values.get((row, column), float("nan")) for column in names] for row in names]
    ax.imshow(table, cmap="PuOr", vmin=-limit, vmax=limit)
    for (row, column), value in values.items():
        x, y = names.index(column), names.index(row)
        text = f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", MINUS)  # no negative zero
        colour = "white" if abs(value) > 0.6 * limit else "black"
        weight = "bold" if (row, column) in bold else "normal"
        ax.text(x, y, text, ha="center", va="center", fontsize=8, color=colour, weight=weight)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.spines[:].set_visible(False)
    return ax

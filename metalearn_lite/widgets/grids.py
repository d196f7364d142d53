"""Pictures for all pairs of two controls, drawn beforehand: an explorer that needs no kernel."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from IPython.display import HTML
from matplotlib.figure import Figure

from metalearn_lite.widgets.filling import filled
from metalearn_lite.widgets.pictures import data_uri, in_few_colours, png_of

PICTURES = 60
BYTES = 400_000


def grid(
    draw: Callable[..., Figure | bytes], values: Mapping[str, Sequence[Any]], *, label: str
) -> HTML:
    """Show the picture for each pair of values, by a slider for numbers, a list for the rest.

    Args:
        draw: ``draw(**chosen)`` returns a figure, which is closed, or a PNG file as bytes; all
            are of one size.
        values: for one or two arguments of ``draw`` what they can be, in the order of the
            slider.
        label: what the pictures show, the name of the whole.

    Returns:
        The HTML to display, of at most 400 KB: pictures of few colours, made smaller if need be.

    Raises:
        ValueError: if there are not one or two controls, or pictures for more than 60 pairs.
    """
    pairs = list(itertools.product(*values.values()))
    if len(values) not in (1, 2) or not 0 < len(pairs) <= PICTURES:
        raise ValueError(
            f"got {len(values)} controls and {len(pairs)} pictures: expected one or two controls, "
            f"and at most {PICTURES} pictures; name fewer values"
        )
    pictures = _small([png_of(draw(**dict(zip(values, pair, strict=True)))) for pair in pairs])
    first = [first_of(of_one) for of_one in values.values()]
    start = pairs.index(tuple(v[i] for v, i in zip(values.values(), first, strict=True)))
    names = [name.replace("_", " ") for name in values]
    texts = [[_written(value) for value in of_one] for of_one in values.values()]
    data = {
        "names": names,
        "values": texts,
        "ordered": [_are_numbers(of_one) for of_one in values.values()],
        "pictures": ["" if i == start else data_uri(png) for i, png in enumerate(pictures)],
        "first": first,
        "start": start,
    }
    shown = zip(names, texts, first, strict=True)
    chosen = ", ".join(f"{name} = {written[i]}" for name, written, i in shown)
    return filled("grid", label, data, src=data_uri(pictures[start]), alt=f"{label}: {chosen}")


def _small(pngs: Sequence[bytes]) -> list[bytes]:
    """Reduce pictures to few colours, and in size until all of them fit into the page."""
    scale, small = 1.0, [in_few_colours(png) for png in pngs]
    while sum(map(len, small)) * 4 / 3 > 0.97 * BYTES:  # of text, and the script beside it
        scale *= 0.85
        small = [in_few_colours(png, scale=scale) for png in pngs]
    return small


def first_of(values: Sequence[object]) -> int:
    """Return which value is shown first: the middle one of numbers, else the first."""
    return len(values) // 2 if _are_numbers(values) else 0


def _are_numbers(values: Sequence[object]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _written(value: object) -> str:
    """Write a value as the page shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}".replace("-", "−") if isinstance(value, int | float) else str(value)

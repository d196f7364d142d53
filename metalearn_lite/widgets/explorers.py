"""Sliders that call Python, for Jupyter; on the page, pictures drawn beforehand for some values."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from IPython.display import HTML
from matplotlib.figure import Figure

from metalearn_lite.widgets.filling import filled
from metalearn_lite.widgets.pictures import data_uri, in_few_colours, png_of

PICTURES = 60
BYTES = 400_000
Draw = Callable[..., Figure]
Values = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Explorer:
    """What ``explorer`` returns; displaying it shows the sliders, or the pictures of the page."""

    draw: Draw
    controls: Mapping[str, Any]
    page: Values
    label: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        import ipywidgets  # needed only here, by who has a live notebook

        sliders = {
            name: ipywidgets.interactive.widget_from_abbrev(value)
            for name, value in self.controls.items()
        }
        for name, slider in sliders.items():
            slider.description = name.replace("_", " ")
            slider.continuous_update = False
        # where the page begins, the notebook begins as well
        start = {name: values[first_of(values)] for name, values in self.page.items()}
        for name, value in start.items():
            sliders[name].value = value
        fixed = {name: slider.value for name, slider in sliders.items()}
        picture = ipywidgets.Image(value=png_of(self.draw(**fixed)), format="png")

        def redraw(_: object) -> None:
            values = {name: slider.value for name, slider in sliders.items()}
            picture.value = png_of(self.draw(**values))

        for slider in sliders.values():
            slider.observe(redraw, names="value")
        live = ipywidgets.VBox([*sliders.values(), picture])

        def drawn(**chosen: Any) -> Figure | bytes:
            return bytes(picture.value) if chosen == start else self.draw(**(fixed | chosen))

        bundle: dict[str, Any] = live._repr_mimebundle_()
        note = "Drawn for " + ", ".join(f"{name} = {value}" for name, value in fixed.items()) + "."
        page = grid(drawn, self.page, label=self.label).data
        return {**bundle, "text/html": page, "text/plain": note}


def explorer(
    draw: Draw, *, page: Values | None = None, label: str = "Try other values", **controls: Any
) -> Explorer:
    """Let the reader of a live notebook move sliders that call Python.

    Args:
        draw: ``draw(**values)`` returns a figure, which is shown and closed; all of one size.
        page: for one or two of the controls the values that the built page offers, where no
            Python runs: a picture is drawn beforehand for each pair, the middle numbers
            come first, and other controls stay at their start. None takes up to five values of each
            of the first two.
        label: what the pictures show, the name of the whole.
        **controls: for each argument of ``draw`` a range ``(least, most, step)`` for a
            slider, a list for a choice, or True or False for a box to tick.

    Returns:
        An object to display as the last line of a cell.

    Raises:
        ValueError: if a control is none of these, or a value of the page none of its control.
    """
    import ipywidgets

    if not controls:
        raise ValueError("got no controls: expected one for each argument of draw")
    for name, value in controls.items():
        known = isinstance(value, bool | list) or (isinstance(value, tuple) and len(value) == 3)
        if not known or ipywidgets.interactive.widget_from_abbrev(value) is None:
            raise ValueError(
                f"control {name} is {value!r}: expected (least, most, step), a list or a bool"
            )
    if page is None:
        page = {name: _some(_all(controls[name])) for name in list(controls)[:2]}
    _check_page(page, controls)
    return Explorer(draw, controls, {name: list(page[name]) for name in page}, label)


def _all(control: Any) -> list[Any]:
    """Return all values of a control, in order."""
    if isinstance(control, bool):
        return [False, True]
    if isinstance(control, list):
        return control
    least, most, step = control
    return [round(least + i * step, 10) for i in range(int((most - least) / step + 1e-9) + 1)]


def _some(values: Sequence[Any], count: int = 5) -> list[Any]:
    """Return up to ``count`` of the values, evenly spaced and with both ends."""
    last, count = len(values) - 1, min(count, len(values))
    return [values[round(i * last / max(1, count - 1))] for i in range(count)]


def _check_page(page: Values, controls: Mapping[str, Any]) -> None:
    """Raise a ``ValueError`` if the page would offer what a control does not."""
    if not 0 < len(page) <= 2 or not set(page) <= set(controls):
        raise ValueError(
            f"page names {list(page)}: expected one or two of the controls {list(controls)}"
        )
    for name, values in page.items():
        allowed = _all(controls[name])
        if not len(values) or not all(value in allowed for value in values):
            raise ValueError(
                f"page offers {name} = {list(values)}: expected values of its control, "
                f"{controls[name]!r}"
            )


def grid(draw: Callable[..., Figure | bytes], values: Values, *, label: str) -> HTML:
    """Show the picture for each pair of values, by a slider for numbers, a list for the rest.

    The pictures are drawn beforehand: an explorer that needs no kernel.

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

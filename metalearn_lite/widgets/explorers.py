"""Sliders that call Python, for Jupyter; on the page, pictures drawn beforehand for some values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from metalearn_lite.widgets.grids import first_of, grid
from metalearn_lite.widgets.pictures import png_of

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

"""Sliders that call Python, for Jupyter; the page shows their first picture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib.figure import Figure

from metalearn_lite.widgets.pictures import data_uri, png_of

Draw = Callable[..., Figure]


@dataclass(frozen=True)
class Explorer:
    """What ``explorer`` returns; displaying it shows the sliders, or their first picture."""

    draw: Draw
    controls: Mapping[str, Any]

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        import ipywidgets  # needed only here, by who has a live notebook

        sliders = {
            name: ipywidgets.interactive.widget_from_abbrev(value)
            for name, value in self.controls.items()
        }
        for name, slider in sliders.items():
            slider.description, slider.continuous_update = name, False
        first = png_of(self.draw(**{name: slider.value for name, slider in sliders.items()}))
        picture = ipywidgets.Image(value=first, format="png")

        def redraw(_: object) -> None:
            values = {name: slider.value for name, slider in sliders.items()}
            picture.value = png_of(self.draw(**values))

        for slider in sliders.values():
            slider.observe(redraw, names="value")
        live = ipywidgets.VBox([*sliders.values(), picture])
        values = ", ".join(f"{name} = {slider.value}" for name, slider in sliders.items())
        note = f"Drawn for {values}. In Jupyter there are sliders here."
        page = f'<img src="{data_uri(first)}" alt="{escape(note)}"><p><em>{escape(note)}</em></p>'
        bundle: dict[str, Any] = live._repr_mimebundle_()
        return {**bundle, "text/html": page, "text/plain": note}


def explorer(draw: Draw, **controls: Any) -> Explorer:
    """Let the reader of a live notebook move sliders that call Python.

    Args:
        draw: ``draw(**values)`` returns a figure, which is shown and closed.
        **controls: for each argument of ``draw`` a range ``(least, most, step)`` for a
            slider, a list for a choice, or True or False for a box to tick.

    Returns:
        An object to display as the last line of a cell. In the built page, where no
        Python runs, it shows the picture for the middle of each range.

    Raises:
        ValueError: if a control is none of these.
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
    return Explorer(draw, controls)

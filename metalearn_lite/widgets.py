"""Things that move: a stepper and a game for the page, an explorer for Jupyter.

The stepper and the game are self-contained HTML: pictures, style and script are in the
output itself, so they work in the built page without a kernel and without a network, by
mouse, keyboard and screen reader. The explorer calls Python and so needs Jupyter; in the
page it shows its first picture. Nothing is computed here, and nothing is sent anywhere.
"""

import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import torch.nn.functional as F
from IPython.display import HTML
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

Draw = Callable[..., Figure]


def stepper(
    frames: Sequence[Figure | bytes],
    *,
    captions: Sequence[str],
    alts: Sequence[str] | None = None,
    label: str,
) -> HTML:
    """Show pictures one after the other, with buttons, a slider and the arrow keys.

    Args:
        frames: figures, which are closed, or PNG files as bytes; all of one size.
        captions: the line below each frame, read out when the frame changes.
        alts: a description of each frame for those who do not see it; None uses the
            captions.
        label: what the steps show, the name of the whole.

    Returns:
        The HTML to display. Its bytes depend on the arguments alone.

    Raises:
        ValueError: if there is no frame, or not one caption and description for each.
    """
    alts = captions if alts is None else alts
    if not frames or not len(frames) == len(captions) == len(alts):
        raise ValueError(
            f"got {len(frames)} frames, {len(captions)} captions and {len(alts)} descriptions: "
            "expected at least one frame, and one of each for every frame"
        )
    data = [
        {"src": _data_uri(_png(frame)), "alt": alt, "caption": caption}
        for frame, alt, caption in zip(frames, alts, captions, strict=True)
    ]
    first = data[0]
    shown = {"src": first.pop("src"), "alt": first["alt"], "caption": first["caption"]}
    return _page("stepper", label, data, **shown)


def guess_game(
    support: Tensor,
    query: Tensor,
    answers: Tensor,
    *,
    label: str,
    references: Mapping[str, float] | None = None,
) -> HTML:
    """Let the reader play episodes: which of the examples is this drawing?

    Args:
        support: ``(rounds, ways, h, w)``, one picture of each class, ink 1 on ground 0.
        query: ``(rounds, h, w)``, the picture that is asked.
        answers: ``(rounds,)``, the number of its class, from 0.
        label: the question, the name of the whole.
        references: shares of right answers to compare with at the end, by name.

    Returns:
        The HTML to display. Nothing of what the reader does leaves the page.

    Raises:
        ValueError: if the shapes do not belong together, or an answer is no class.
    """
    rounds, ways = support.shape[:2] if support.ndim == 4 else (0, 0)
    fits = rounds > 0 and query.shape == (rounds, *support.shape[2:])
    if not fits or answers.shape != (rounds,) or not ((answers >= 0) & (answers < ways)).all():
        raise ValueError(
            f"got support {tuple(support.shape)}, query {tuple(query.shape)} and answers "
            f"{answers.tolist()}: expected (rounds, ways, h, w), (rounds, h, w) and one number "
            "from 0 to ways - 1 a round"
        )
    data = {
        "rounds": [
            {"support": [_drawing(x) for x in xs], "query": _drawing(q), "answer": int(a)}
            for xs, q, a in zip(support, query, answers, strict=True)
        ],
        "references": dict(references or {}),
    }
    return _page("game", label, data)


@dataclass(frozen=True)
class Explorer:
    """What ``explorer`` returns; displaying it shows the sliders, or their first picture."""

    draw: Draw
    controls: Mapping[str, Any]

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        sliders = {
            name: ipywidgets.interactive.widget_from_abbrev(value)
            for name, value in self.controls.items()
        }
        for name, slider in sliders.items():
            slider.description, slider.continuous_update = name, False
        first = _png(self.draw(**{name: slider.value for name, slider in sliders.items()}))
        picture = ipywidgets.Image(value=first, format="png")

        def redraw(_: object) -> None:
            values = {name: slider.value for name, slider in sliders.items()}
            picture.value = _png(self.draw(**values))

        for slider in sliders.values():
            slider.observe(redraw, names="value")
        live = ipywidgets.VBox([*sliders.values(), picture])
        values = ", ".join(f"{name} = {slider.value}" for name, slider in sliders.items())
        note = f"Drawn for {values}. In Jupyter there are sliders here."
        page = f'<img src="{_data_uri(first)}" alt="{escape(note)}"><p><em>{escape(note)}</em></p>'
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
    if not controls:
        raise ValueError("got no controls: expected one for each argument of draw")
    for name, value in controls.items():
        if ipywidgets.interactive.widget_from_abbrev(value) is None:
            raise ValueError(
                f"control {name} is {value!r}: expected (least, most, step), a list or a bool"
            )
    return Explorer(draw, controls)


def _page(kind: str, label: str, data: Any, **fields: str) -> HTML:
    """Fill the template ``kind``; the name makes several of them on a page independent."""
    content = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    name = f"{kind}-{hashlib.sha256((label + content).encode()).hexdigest()[:12]}"
    style, template = (
        files("metalearn_lite").joinpath("pages", part).read_text(encoding="utf-8")
        for part in ("style.html", f"{kind}.html")
    )
    for field, value in {"name": name, "label": label, **fields}.items():
        template = template.replace(f"[[{field}]]", escape(value))
    return HTML(style + template.replace("[[data]]", content))  # type: ignore[no-untyped-call]


def _png(frame: Figure | bytes) -> bytes:
    if isinstance(frame, bytes):
        return frame
    file = io.BytesIO()
    frame.savefig(file, format="png", metadata={"Software": None})
    plt.close(frame)
    return file.getvalue()


def _drawing(image: Tensor) -> str:
    """Draw ink dark on light, four times enlarged."""
    large = F.interpolate(image[None, None].float().cpu(), scale_factor=4, mode="bicubic")
    ink = (255 * large[0, 0].clamp(0, 1)).round().byte()
    file = io.BytesIO()
    Image.fromarray((255 - ink).numpy()).save(file, format="PNG", optimize=True)
    return _data_uri(file.getvalue())


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()

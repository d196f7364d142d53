"""A stepper and a game for the page, which need no kernel.

They are self-contained HTML: pictures, style and script are in the output itself, so they work in
the built page without a kernel and without a network, by mouse, keyboard and screen reader.
Nothing is computed here, and nothing is sent anywhere.
"""

import io
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from IPython.display import HTML
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from metalearn_lite.widgets.filling import filled
from metalearn_lite.widgets.pictures import data_uri, in_few_colours, png_of


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
        {"src": data_uri(_few_colours(frame)), "alt": alt, "caption": caption}
        for frame, alt, caption in zip(frames, alts, captions, strict=True)
    ]
    first = data[0]
    shown = {"src": first.pop("src"), "alt": first["alt"], "caption": first["caption"]}
    return filled("stepper", label, data, **shown)


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
    if answers.is_floating_point() or not (support.isfinite().all() and query.isfinite().all()):
        raise ValueError(
            f"answers are {answers.dtype}, or a picture holds NaN: expected whole numbers, "
            "and finite numbers as ink"
        )
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
    return filled("game", label, data)


def _few_colours(frame: Figure | bytes) -> bytes:
    """Draw a figure with a palette; a file stays as it is."""
    return frame if isinstance(frame, bytes) else in_few_colours(png_of(frame), colours=64)


def _drawing(image: Tensor) -> str:
    """Draw ink dark on light, four times enlarged."""
    large = F.interpolate(image[None, None].float().cpu(), scale_factor=4, mode="bicubic")
    ink = (255 * large[0, 0].clamp(0, 1)).round().byte()
    file = io.BytesIO()
    Image.fromarray((255 - ink).numpy()).save(file, format="PNG", optimize=True)
    return data_uri(file.getvalue())

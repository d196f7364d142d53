"""Letters of many scripts, redrawn with a pen: the data set that needs no download.

The fonts that come inside matplotlib hold letters of fifteen scripts. Each letter is
thinned to its centre line, as a pen would follow it; the line is bent by a random affine
map and a smooth displacement field; and every point within half a stroke of the bent line
is inked. So a class has twenty drawings that differ as handwriting differs, and all that
made them differ is known.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.ft2font import FT2Font, LoadFlags
from torch import Tensor

from metalearn_lite.datasets.lookalikes import distinct, same_letter
from metalearn_lite.datasets.thinning import REACH, Bytes, distance_to_line, thin

SIDE = 28
FAMILIES = {
    "DejaVu Sans": "DejaVuSans.ttf",
    "DejaVu Sans Mono": "DejaVuSansMono.ttf",
    "DejaVu Serif": "DejaVuSerif.ttf",
}
FACES = {  # the four faces of each family
    f"{family} {style}".rstrip(): file.replace(".", f"-{style}." if style else ".")
    for family, file in FAMILIES.items()
    for lean in ("Italic" if family == "DejaVu Serif" else "Oblique",)
    for style in ("", "Bold", lean, f"Bold{lean}")
}
# First word of a letter's Unicode name -> script. Of two look-alikes the earlier script
# keeps its letter: the scripts that most readers know, then the small ones.
SCRIPTS = {
    "LATIN": "Latin",
    "GEORGIAN": "Georgian",
    "LAO": "Lao",
    "TIFINAGH": "Tifinagh",
    "NKO": "N'Ko",
    "HEBREW": "Hebrew",
    "ARMENIAN": "Armenian",
    "OGHAM": "Ogham",
    "OLD": "Old Italic",
    "GREEK": "Greek",
    "CYRILLIC": "Cyrillic",
    "ARABIC": "Arabic",
    "COPTIC": "Coptic",
    "LISU": "Lisu",
    "CANADIAN": "Canadian Aboriginal",
}
GLYPH_SPLIT: dict[str, tuple[str, ...]] = {
    "train": ("Arabic", "Canadian Aboriginal", "Cyrillic", "Greek", "Latin", "Lisu"),
    "validation": ("Armenian", "Coptic", "Hebrew", "Old Italic"),
    "test": ("Georgian", "Lao", "N'Ko", "Ogham", "Tifinagh"),
}
PLAIN_STROKE = 2.5  # pixels; about as wide as DejaVu Sans is at this size

_FINE = 2 * SIDE  # thinning works at twice the resolution of the images
_LETTER = 40  # longer side of a letter on the fine grid
_CHUNK = 2000  # images warped at once: bounds the memory

_BLANK: Bytes = np.zeros((1, 1), dtype=np.uint8)


@dataclass(frozen=True)
class RenderedGlyphs:
    """Drawings of letters and what is known about each.

    Attributes:
        images: ``(classes, examples, size, size)``, uint8, ink 255 on 0.
        class_names: the Unicode name of each letter.
        characters: the letters.
        groups: the script of each letter.
        factors: what made each drawing, name to ``(classes, examples)``: ``script``,
            ``family`` (the font, so the writer), ``weight`` and ``slant`` are int64 codes;
            ``rotation`` (degrees, counter-clockwise), ``shear`` (positive leans to the
            right, as italics do), ``scale`` (1 is 20 of 28 pixels) and ``stroke`` (pixels, of
            28) are float.
        factor_names: what the integer codes stand for.
    """

    images: Tensor
    class_names: tuple[str, ...]
    characters: tuple[str, ...]
    groups: tuple[str, ...]
    factors: dict[str, Tensor]
    factor_names: dict[str, tuple[str, ...]]


def render_glyphs(
    *, seed: int = 0, examples: int = 20, deduplicate: bool = True, size: int = SIDE
) -> RenderedGlyphs:
    """Draw every letter of fifteen scripts ``examples`` times.

    Args:
        seed: of the one CPU generator behind all drawings; the letters do not depend on it.
        examples: drawings of each letter.
        deduplicate: leave out letters that look like another, see ``lookalikes``. Without
            it the same shape can be in two scripts, and so on both sides of a split.
        size: pixels of a side.

    Returns:
        The drawings, in the order of the letters' code points.

    Raises:
        ValueError: if ``examples`` or ``size`` is below 1 or ``seed`` is negative.
    """
    for name, value, least in (("examples", examples, 1), ("size", size, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"got {name}={value}: expected an integer of at least {least}")
    characters = letters()
    printed = torch.stack([_print(characters, family) for family in FAMILIES])
    distance = _distance_to_pen(printed)
    penned = _plain_pen(distance)
    available = same_letter(penned)
    if deduplicate:
        script = torch.tensor([list(SCRIPTS.values()).index(script_of(c)) for c in characters])
        kept = distinct(script, printed=_halve(printed), penned=penned)
        characters = tuple(characters[i] for i in kept)
        distance, available = distance[:, kept], available[:, kept]
    generator = torch.Generator().manual_seed(seed)
    factors = _draw_factors(characters, available, examples, generator)
    images = _draw(distance, factors, size, generator)
    return RenderedGlyphs(
        images=images,
        class_names=tuple(unicodedata.name(c) for c in characters),
        characters=characters,
        groups=tuple(script_of(c) for c in characters),
        factors=factors,
        factor_names={
            "script": tuple(SCRIPTS.values()),
            "family": tuple(FAMILIES),
            "weight": ("regular", "bold"),
            "slant": ("upright", "oblique"),
        },
    )


def script_of(character: str) -> str:
    """Return the script of a letter, or "" if it is of none that the course uses."""
    return SCRIPTS.get(unicodedata.name(character, "").split(" ")[0], "")


def letters(*faces: str) -> tuple[str, ...]:
    """List the plain letters of DejaVu Sans: no marks, ligatures or presentation forms.

    Args:
        *faces: keys of ``FACES`` that must have them too.
    """
    others = [_font(face).get_charmap() for face in faces]
    codes = sorted(set(_font("DejaVu Sans").get_charmap()).intersection(*others))
    return tuple(c for c in map(chr, codes) if script_of(c) and _is_plain(c))


def plain_bitmaps(characters: Sequence[str], family: str, *, pen: bool = False) -> Tensor:
    """Draw letters unwarped and all of one size, the longer side 20 pixels.

    Args:
        characters: n letters.
        family: a key of ``FAMILIES`` or ``FACES``.
        pen: draw with a pen ``PLAIN_STROKE`` wide, not as the font has them.

    Returns:
        ``(n, 28, 28)``, float in [0, 1]. A letter that the family lacks is blank.
    """
    printed = _print(characters, family)
    return _plain_pen(_distance_to_pen(printed)) if pen else _halve(printed)


def _font(family: str) -> FT2Font:
    if family not in FACES:
        raise ValueError(f"got family {family!r}: expected one of {', '.join(FACES)}")
    return FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / FACES[family]))


def _is_plain(character: str) -> bool:
    whole = not unicodedata.decomposition(character)
    # A syllabic that is one dot: at full size it is a disc, thinned it is a point.
    return whole and unicodedata.category(character) in {"Lu", "Ll", "Lo"} and character != "ᐝ"


def _halve(bitmaps: Tensor) -> Tensor:
    return F.avg_pool2d(bitmaps, 2)


def _distance_to_pen(printed: Tensor) -> Tensor:
    """Thin what is printed, ``(..., 56, 56)``; of a blank every pixel is ``REACH`` away."""
    shape = printed > 0.5
    some = shape.any(-1).any(-1)
    distance = torch.full_like(printed, REACH)
    distance[some] = distance_to_line(thin(shape[some]))
    return distance


def _plain_pen(distance: Tensor) -> Tensor:
    return _halve(_cover(distance * (SIDE / _FINE), torch.tensor(PLAIN_STROKE)))


def _print(characters: Sequence[str], family: str) -> Tensor:
    """Return ``(n, 56, 56)``, float in [0, 1], the longer side of each letter 40 pixels."""
    font = _font(family)
    font.set_size(64, 72)
    known = font.get_charmap()
    drawn = [_raster(font, c) if ord(c) in known else _BLANK for c in characters]
    shapes = torch.tensor([ink.shape for ink in drawn])
    frame = int(shapes.max())
    canvas = np.zeros((len(drawn), 1, frame, frame), dtype=np.float32)
    for page, ink in zip(canvas, drawn, strict=True):
        page[0, : ink.shape[0], : ink.shape[1]] = ink
    # Where the pixels of the fine grid, (0, 0) in its middle, lie on the canvas.
    steps = (torch.arange(_FINE) + 0.5 - _FINE / 2) / _LETTER
    at = (steps * shapes.amax(1)[:, None, None] + shapes[:, :, None] / 2) / frame * 2 - 1
    y, x = at[:, 0, :, None].expand(-1, -1, _FINE), at[:, 1, None, :].expand(-1, _FINE, -1)
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(torch.from_numpy(canvas), grid, align_corners=False)[:, 0] / 255


def _raster(font: FT2Font, character: str) -> Bytes:
    """Draw one letter and cut off its empty edges."""
    font.set_text(character, 0.0, flags=LoadFlags.NO_HINTING)
    font.draw_glyphs_to_bitmap(antialiased=True)
    ink = np.asarray(font.get_image())
    rows, columns = np.flatnonzero(ink.max(1) > 127), np.flatnonzero(ink.max(0) > 127)
    if not rows.size:
        return _BLANK
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _draw_factors(
    characters: Sequence[str], available: Tensor, examples: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw what varies; ``available``, ``(families, n)``, says which family has which letter."""
    shape = (len(characters), examples)

    def normal(spread: float) -> Tensor:
        return spread * torch.randn(shape, generator=generator)

    def uniform() -> Tensor:
        return torch.rand(shape, generator=generator)

    codes = torch.tensor([list(SCRIPTS.values()).index(script_of(c)) for c in characters])
    weight, slant = (uniform() < 0.3).long(), (uniform() < 0.3).long()
    return {
        "script": codes[:, None].repeat(1, examples),
        "family": available.T.float().multinomial(examples, True, generator=generator),
        "weight": weight,
        "slant": slant,
        "rotation": normal(10.0),
        "shear": normal(0.15) + 0.3 * slant,
        "scale": 0.9 * normal(0.12).exp(),
        "stroke": 1 + uniform() + 0.6 * weight,
    }


def _draw(
    distance: Tensor, factors: dict[str, Tensor], size: int, generator: torch.Generator
) -> Tensor:
    """Warp distances ``(families, n, 56, 56)`` and ink them, ``(n, examples, size, size)``."""
    n, examples = factors["family"].shape
    finer = size / SIDE  # output pixels in one of the 28
    letter = torch.arange(n).repeat_interleave(examples)
    family, scale, stroke = (factors[k].flatten() for k in ("family", "scale", "stroke"))
    affine, knots = _affine(factors, generator), _knots(n * examples, generator)
    chunks = []
    for part in torch.split(torch.arange(n * examples), _CHUNK):
        bent = _pixels(size) + _field(knots[part], size)
        at = torch.einsum("nij,nhwj->nhwi", affine[part], bent)
        near = distance[family[part], letter[part]].unsqueeze(1)
        far = F.grid_sample(near, at / (SIDE / 2), padding_mode="border", align_corners=False)
        pixels = far[:, 0] * (SIDE / _FINE) * scale[part, None, None]
        covered = _cover(finer * pixels, finer * stroke[part, None, None])
        chunks.append((255 * covered).round().to(torch.uint8))
    return torch.cat(chunks).view(n, examples, size, size)


def _cover(distance: Tensor, stroke: Tensor) -> Tensor:
    """Return the share of each pixel that a line of this width covers, both in pixels."""
    return (stroke / 2 + 0.5 - distance).clamp(min=0).minimum(stroke.clamp(max=1))


def _pixels(size: int) -> Tensor:
    """Return the (x, y) of each pixel from the middle, ``(size, size, 2)``; a side is 28 long."""
    middle = (torch.arange(size) - (size - 1) / 2) * (SIDE / size)
    return torch.stack(torch.meshgrid(middle, middle, indexing="xy"), dim=-1)


def _affine(factors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """Return ``(N, 2, 2)``, from the drawing back to the letter: un-turn, un-shear, un-scale."""
    turn, shear, scale = (factors[k].flatten() for k in ("rotation", "shear", "scale"))
    sin, cos = turn.deg2rad().sin(), turn.deg2rad().cos()
    aspect = (0.06 * torch.randn(turn.shape, generator=generator)).exp()
    x_row = torch.stack([cos + shear * sin, shear * cos - sin], dim=-1) / (scale * aspect)[:, None]
    y_row = torch.stack([sin, cos], dim=-1) / (scale / aspect)[:, None]
    return torch.stack([x_row, y_row], dim=-2)


def _knots(count: int, generator: torch.Generator) -> Tensor:
    """Draw how far nine points of the image are moved, in pixels of 28, ``(count, 2, 3, 3)``."""
    # With 2 pixels what is learned carries over to real handwriting (25 alphabets of
    # Omniglot) better than with 1.5; 2.5 gives no more and is harder to read.
    shift = 1.3 * torch.randn((count, 2, 1, 1), generator=generator)
    return shift + 2.0 * torch.randn((count, 2, 3, 3), generator=generator)


def _field(knots: Tensor, size: int) -> Tensor:
    """Return the smooth field through the knots, ``(count, size, size, 2)``."""
    field = F.interpolate(knots, size=size, mode="bicubic", align_corners=True)
    return field.permute(0, 2, 3, 1)

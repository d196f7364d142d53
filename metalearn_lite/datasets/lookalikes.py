r"""Find letters that look alike, so that no shape hides under two names.

Likeness is the cosine of two bitmaps, :math:`a \cdot b / (\|a\| \|b\|)`. Plain bitmaps
miss pairs that differ in proportion alone, such as a round and a narrow O, so letters of
different scripts are also compared after each was stretched to fill its box. No such
measure is perfect: some pairs that a reader would call alike stay below the thresholds.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LOOKALIKE = 0.92  # of different scripts, as printed and as drawn with one pen
LOOKALIKE_STRETCHED = 0.955  # of different scripts, drawn with one pen and stretched
LOOKALIKE_WITHIN = 0.93  # of one script, drawn with one pen
SAME_LETTER = 0.7  # in another family, drawn with one pen and stretched
_BOX = 20  # pixels; the longer side of every letter
_MOST = 1.6  # a stroke that is stretched further is another shape


def distinct(script: Tensor, *, printed: Tensor, penned: Tensor) -> list[int]:
    """Choose letters of which no two look alike, going through the scripts in order.

    Of different scripts no two may look alike in any family, by any of the three measures,
    so that no shape is on both sides of a split. Within a script only the penned bitmaps
    count, for those are what is drawn: C and c differ in print by the weight of the line
    alone, and two classes that nobody can tell apart are label noise.

    Args:
        script: ``(n,)`` int64. Of two look-alikes the lower script keeps its letter.
        printed: ``(families, n, 28, 28)``, as the fonts have them.
        penned: ``(families, n, 28, 28)``, drawn with one pen.

    Returns:
        The numbers of the letters kept, ascending.
    """
    pen = likeness(penned)
    stretched = torch.stack([stretch(bitmaps) for bitmaps in penned])
    twins = (pen > LOOKALIKE) | (likeness(printed) > LOOKALIKE)
    twins |= likeness(stretched) > LOOKALIKE_STRETCHED
    same = script[:, None] == script
    alike = torch.where(same, pen > LOOKALIKE_WITHIN, twins)
    free, kept = torch.ones(len(script), dtype=torch.bool), []
    for i in script.argsort(stable=True).tolist():
        if free[i]:
            kept.append(i)
            free &= ~alike[i]
    return sorted(kept)


def same_letter(penned: Tensor) -> Tensor:
    """Tell in which families a letter has the shape that it has in the first.

    Some fonts draw another form of a letter, which no reader would call the same character.

    Args:
        penned: ``(families, n, 28, 28)``, drawn with one pen; blank where a family lacks it.

    Returns:
        ``(families, n)`` bool; False also where a family lacks the letter.
    """
    unit = F.normalize(torch.stack([stretch(bitmaps) for bitmaps in penned]).flatten(2), dim=2)
    return (unit * unit[0]).sum(2) > SAME_LETTER


def likeness(bitmaps: Tensor) -> Tensor:
    """Return the largest cosine over families, ``(n, n)``, of ``(families, n, h, w)``."""
    unit = F.normalize(bitmaps.flatten(2), dim=2)
    return torch.stack([u @ u.T for u in unit]).amax(0)


def stretch(bitmaps: Tensor) -> Tensor:
    """Stretch each letter to fill its box, at most 1.6 times, and blur it a little.

    Args:
        bitmaps: ``(n, h, w)``, letters whose longer side is 20 pixels.

    Returns:
        ``(n, h, w)``.
    """
    size = bitmaps.shape[-1]
    ink = bitmaps > 0.3
    sides = torch.stack([ink.any(2), ink.any(1)], dim=1).float()  # (n, 2, h): rows, columns
    first, last = sides.argmax(2), size - 1 - sides.flip(2).argmax(2)
    zoom = (_BOX / (last - first + 1)).clamp(max=_MOST)
    steps = torch.arange(size) - (size - 1) / 2
    at = ((first + last) / 2)[..., None] + steps / zoom[..., None]  # (n, 2, h), in pixels
    y, x = ((2 * at + 1) / size - 1).unbind(1)
    grid = torch.stack([x[:, None].expand(-1, size, -1), y[..., None].expand(-1, -1, size)], -1)
    filled = F.grid_sample(bitmaps[:, None], grid, align_corners=False)
    return F.avg_pool2d(filled, 3, stride=1, padding=1)[:, 0]

"""Drawings cut out around their ink, so that where and how large somebody drew does not count."""

import torch
import torch.nn.functional as F
from torch import Tensor

from metalearn_lite.arguments import check_counts, check_not_negative

INK = 0.3  # least of a line
SMALLEST = 0.25  # of the image: so that a dot stays small


def crop_to_ink(x: Tensor, size: int, *, margin: float = 0.1, finer: int = 2) -> Tensor:
    """Cut out the square around the ink of each drawing, and scale it to ``size`` pixels.

    Args:
        x: drawings ``(n, 1, side, side)``, ink 1 on ground 0. A blank one stays as it is.
        size: pixels of a side of what is returned.
        margin: left free on each side, as a share of the square.
        finer: each pixel is the mean of ``finer`` x ``finer`` points, between which and the
            pixels of ``x`` values are linear.

    Returns:
        ``(n, 1, size, size)``.

    Raises:
        ValueError: if the drawings are not square or have several channels.
    """
    check_counts(size=size, finer=finer)
    check_not_negative(margin=margin)
    if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] != x.shape[3] or not x.is_floating_point():
        raise ValueError(
            f"got drawings of shape {tuple(x.shape)} and {x.dtype}: expected (n, 1, side, side), "
            "floating, ink 1 on ground 0"
        )
    n, side = len(x), x.shape[-1]
    on, pixels = x[:, 0] > INK, torch.arange(side).to(x)
    middles, sizes = [], []
    for line in (on.any(dim=1), on.any(dim=2)):  # columns, then rows
        line = line | ~line.any(dim=1, keepdim=True)
        first = torch.where(line, pixels, side).amin(dim=1)
        last = torch.where(line, pixels, -1).amax(dim=1)
        middles.append((first + last + 1) / side - 1)
        sizes.append((last + 1 - first) / side)
    share = torch.stack(sizes).amax(dim=0).clamp(min=SMALLEST) * (1 + 2 * margin)
    zero = torch.zeros_like(share)
    rows = [torch.stack([share, zero, middles[0]], 1), torch.stack([zero, share, middles[1]], 1)]
    fine = [n, 1, size * finer, size * finer]
    grid = F.affine_grid(torch.stack(rows, dim=1), fine, align_corners=False)
    return F.avg_pool2d(F.grid_sample(x, grid, align_corners=False), finer)

"""Attention written out, so that it can be differentiated as often as one likes.

PyTorch's fused attention is faster and has no second derivative, which an inner loop needs.
"""

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts


class Attention(nn.Module):
    r"""Let each row of a set read from others, in several heads of d numbers each.

    .. math::

        \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt{d}}\right) V,

    where :math:`Q = X W_Q`, :math:`K = X W_K` and :math:`V = X W_V`.

    Args:
        width: numbers in a row.
        heads: number of heads, a divisor of ``width``.

    Raises:
        ValueError: if the width cannot be divided by the heads.

    Reference:
        Vaswani et al. (2017), "Attention is all you need", equation 1 and section 3.2.2.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_counts(width=width, heads=heads)
        if width % heads:
            raise ValueError(f"width is {width}: expected a multiple of heads, which is {heads}")
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Read from other rows.

        Args:
            x: ``(..., n, width)``.
            mask: bool ``(..., n, n)``, whether row i may read row j; each reads one at least.

        Returns:
            ``(..., n, width)``.
        """
        q, k, v = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = q @ k.mT / q.shape[-1] ** 0.5
        weights = scores.masked_fill(~mask.unsqueeze(-3), -torch.inf).softmax(dim=-1)
        return self.output((weights @ v).transpose(-2, -3).flatten(-2))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        """Turn ``(..., n, width)`` into ``(..., heads, n, width / heads)``."""
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-2, -3)


class TransformerLayer(nn.Module):
    r"""Attention, then a small network for each row; both are added to what was there.

    .. math::

        h = x + \operatorname{Attention}(\operatorname{LN}(x)),

        y = h + \operatorname{MLP}(\operatorname{LN}(h)) .

    Args:
        width: numbers in a row; the small network has one hidden layer of twice as many.
        heads: as in ``Attention``.

    Reference:
        Xiong et al. (2020), "On layer normalization in the transformer architecture", for the
        normalisation (LN) in front, which needs no warm-up.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(..., n, width)`` to the same shape; ``mask`` is that of ``Attention``."""
        x = x + self.attention(self.norm(x), mask)
        return x + self.mlp(x)  # type: ignore[no-any-return]

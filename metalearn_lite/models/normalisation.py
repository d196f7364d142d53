"""Batch normalisation by the batch it sees, written out by hand."""

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts, check_not_negative, check_shapes


class BatchStatisticsNorm(nn.Module):
    r"""Batch normalisation by the statistics of the batch it sees, and no others.

    .. math::

        y = \gamma \, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta,

    with mean and (biased) variance of each channel over the batch and all pixels. There
    are no running statistics, so training and prediction are the same function, and a
    prediction depends on the other images of its batch: it is *transductive*.

    It is written out by hand because under ``torch.func.vmap`` the built-in batch norm
    gives a wrong second-order gradient without a warning.

    Args:
        channels: number of channels.
        eps: added to the variance.

    Reference:
        Ioffe and Szegedy (2015), "Batch Normalization", Algorithm 1.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        check_counts(channels=channels)
        check_not_negative(eps=eps)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise images ``(n, channels, h, w)``, or vectors ``(n, channels)``."""
        channels = len(self.weight)
        expected = f"(n, {channels}, ...), the number of channels that the layer was made for"
        check_shapes(x.ndim >= 2 and x.shape[1] == channels, expected, inputs=x)
        rest, shape = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
        centred = x - x.mean(dim=rest, keepdim=True)
        variance = centred.square().mean(dim=rest, keepdim=True)
        scale = torch.rsqrt(variance + self.eps) * self.weight.view(shape)
        return centred * scale + self.bias.view(shape)

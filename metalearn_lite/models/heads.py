"""Last layers: a new one for another problem, and how many outputs the problem asks for."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts, check_positive
from metalearn_lite.models.expectations import linear_head
from metalearn_lite.models.initialisation import initialise
from metalearn_lite.models.networks import Network


class CosineHead(nn.Linear):
    r"""A head without a bias that scores each class by the angle to its weights.

    .. math::

        s \, \frac{w_k^\top z}{\lVert w_k \rVert \, \lVert z \rVert},

    with a scale s that is learned too, as its logarithm. How long features are no longer counts,
    so that a new class, whose weights were made of few examples, is not outshouted by the old ones.

    Args:
        features: d, the size of a feature vector.
        outputs: number of classes.
        scale: where s begins; a cosine alone is too small for a softmax to be sure.

    Reference:
        Gidaris and Komodakis (2018), "Dynamic few-shot visual learning without forgetting";
        the classifier of Baseline++ in Chen et al. (2019).
    """

    def __init__(self, features: int, outputs: int, *, scale: float = 10.0) -> None:
        check_counts(features=features, outputs=outputs)
        check_positive(scale=scale)
        super().__init__(features, outputs, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(float(scale)).log())

    def forward(self, z: Tensor) -> Tensor:
        """Map features ``(n, d)`` to logits ``(n, outputs)``."""
        return self.log_scale.exp() * F.linear(
            F.normalize(z, dim=-1), F.normalize(self.weight, dim=-1)
        )


def new_head(model: Network, outputs: int, *, generator: torch.Generator | None = None) -> Network:
    """Return a copy with a new head for ``outputs`` classes or values.

    Args:
        model: gives everything but the head.
        outputs: number of outputs.
        generator: draws the head, uniform in ``±1 / sqrt(d)``; None makes it zero, so that
            the first step of fine-tuning moves no other layer.
    """
    check_counts(outputs=outputs)
    renewed = copy.deepcopy(model)
    old = linear_head(renewed).weight
    head = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, old.shape[1], outputs, dtype=old.dtype
    )
    for p in head.parameters():
        nn.init.zeros_(p)
    renewed.head = initialise(head, generator).to(old.device)
    return renewed


def outputs_for(y: Tensor) -> int:
    """Count the outputs that targets ask for: the columns of values, or the classes.

    Raises:
        ValueError: if the labels are not int64 from 0 on, or a class below the largest
            label has no example.
    """
    if y.is_floating_point():
        return y.shape[-1]
    if y.dtype != torch.int64 or y.ndim != 1 or (y < 0).any():
        raise ValueError(
            f"labels are {y.dtype} of shape {tuple(y.shape)}: expected int64 of shape (n,), "
            "0 or more"
        )
    counts = y.bincount()
    if (counts == 0).any() or len(counts) == 0:
        empty = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(
            f"no example of class {empty} among {len(y)}: give each class at least one"
        )
    return len(counts)

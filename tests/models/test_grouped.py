"""Tasks as groups of PyTorch's own layers: the numbers of the stacked pass, differentiated once."""

import pytest
import torch
from torch import nn

from metalearn_lite.models import BatchStatisticsNorm, conv4
from metalearn_lite.models.grouped import grouped
from metalearn_lite.models.stacked import ACTIVATIONS, stacked_network
from metalearn_lite.randomness import seeded

TASKS = 3


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def small(*layers):
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


NETWORKS = {
    "batch norm": lambda: conv4(3, width=4, channels=3),
    "group norm": lambda: conv4(3, width=16, norm="group", channels=3),
    "no norm, no pooling": lambda: conv4(3, width=4, norm="none", pool=False, channels=3),
    "a bias before another layer": lambda: small(nn.Conv2d(3, 6, (3, 2), 2, (0, 1)), nn.ReLU()),
    "a norm first": lambda: small(BatchStatisticsNorm(3), nn.ReLU(), nn.Conv2d(3, 6, 3)),
    "a convolution after the pooling": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 3, 1), nn.Flatten()
    ),
    "layers after the flattening": lambda: nn.Sequential(
        nn.Conv2d(3, 2, 9, 9), nn.Flatten(), nn.Linear(18, 4), nn.GroupNorm(2, 4), nn.Linear(4, 3)
    ),
    **{
        f"{kind.__name__} between": lambda kind=kind: small(
            nn.Conv2d(3, 4, 3, 2), BatchStatisticsNorm(4), kind(), nn.Conv2d(4, 6, 3, bias=False)
        )
        for kind in ACTIVATIONS
    },
    **{
        f"{kind.__name__} first": lambda kind=kind: small(kind(), nn.Conv2d(3, 6, 3))
        for kind in ACTIVATIONS
    },
}


def setting(name, n=4):
    """A network, parameters of its own for each task, and images."""
    model = NETWORKS[name]().double()
    x = random(TASKS, n, 3, 28, 28)
    network = stacked_network(model, x)
    packed = network.pack({key: p.detach() for key, p in model.named_parameters()})
    params = {
        key: (p + 0.1 * random(TASKS, *p.shape, seed=i)).requires_grad_()
        for i, (key, p) in enumerate(packed.items())
    }
    return network, params, x


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n", [1, 4])
def test_outputs_and_gradients_are_those_of_the_stacked_pass(name, n):
    network, params, x = setting(name, n)
    x.requires_grad_()
    weights = random(TASKS, n, 3, seed=9)
    leaves = [x, *params.values()]
    found = []
    for forward in (lambda: network(params, x), lambda: grouped(network, params, x)):
        outputs = forward()
        slopes = torch.autograd.grad((outputs * weights).sum(), leaves, materialize_grads=True)
        found.append((outputs.detach(), *slopes))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(theirs, mine, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NETWORKS)
def test_images_and_parameters_stay_as_they_are(name):
    network, params, x = setting(name)
    given = [t.detach().clone() for t in (x, *params.values())]
    grouped(network, params, x).sum().backward()
    for before, after in zip(given, (x, *params.values()), strict=True):
        assert torch.equal(before, after)


def test_an_activation_first_leaves_images_of_one_channel_as_they_are():
    """Of one task and one channel there is nothing to rearrange, and so no copy."""
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(18, 3)).double()
    x = random(1, 4, 1, 5, 5)
    before, network = x.clone(), stacked_network(model, x)
    packed = network.pack({name: p.detach() for name, p in model.named_parameters()})
    params = {name: p.unsqueeze(0) for name, p in packed.items()}
    torch.testing.assert_close(grouped(network, params, x)[0], model(x[0]).detach())
    assert torch.equal(x, before)


def test_one_task_of_one_image_of_one_pixel_is_its_shift():
    """A batch norm of a single number, which PyTorch's own layer refuses."""
    model = nn.Sequential(BatchStatisticsNorm(2), nn.Flatten()).double()
    x = random(1, 1, 2, 1, 1)
    params = {"0.weight": random(1, 2), "0.bias": random(1, 2, seed=1)}
    network = stacked_network(model, x)
    torch.testing.assert_close(grouped(network, params, x).flatten(), params["0.bias"].flatten())

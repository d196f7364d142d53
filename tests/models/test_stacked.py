import pytest
import torch
from torch import nn

from metalearn_lite.maml import maml_loss
from metalearn_lite.models import BatchStatisticsNorm, Network, conv4, mlp
from metalearn_lite.models.stacked import stacked_network
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import reptile_step
from metalearn_lite.tasks import Episode


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


NETWORKS = {
    "conv4": lambda: conv4(3, width=8),
    "conv4 on colours": lambda: conv4(3, width=8, channels=3),
    "conv4 without pooling": lambda: conv4(3, width=8, pool=False),
    "conv4, group norm": lambda: conv4(3, width=16, norm="group"),
    "conv4, one group": lambda: conv4(3, width=4, norm="group"),
    "conv4, no norm": lambda: conv4(3, width=8, norm="none"),
    "more filters than pixels": lambda: nn.Sequential(
        nn.Conv2d(1, 12, 3, stride=2),
        BatchStatisticsNorm(12),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 3),
    ),
    "mlp": lambda: mlp(5, 3),
    "a norm after the activation": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2),
        nn.ReLU(),
        BatchStatisticsNorm(4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ),
    "a convolution after the pooling": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 3, 1), nn.Flatten()
    ),
    "other kernels": lambda: nn.Sequential(
        nn.Conv2d(1, 4, (5, 3), stride=3, padding=(2, 0), bias=False),
        nn.ReLU(),
        nn.Conv2d(4, 6, 2),
        BatchStatisticsNorm(6),
        nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()),
        nn.Linear(6, 3, bias=False),
    ),
}


@pytest.fixture(params=NETWORKS)
def model(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().double()


def inputs_of(model, tasks=3, n=2):
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    if isinstance(first, nn.Linear):
        return random(tasks, n, first.in_features)
    flattened = any(
        m.out_features == 3 and m.in_features == 32
        for m in model.modules()
        if isinstance(m, nn.Linear)
    )
    size = 28 if flattened else 14
    return random(tasks, n, first.in_channels, size, size)


def stacked(model, tasks=3):
    return {
        name: p.detach() + 0.1 * random(tasks, *p.shape, seed=i)
        for i, (name, p) in enumerate(model.named_parameters())
    }


def test_each_task_gets_the_outputs_of_its_own_network(model):
    network, params, x = stacked_network(model), stacked(model), inputs_of(model)
    packed = [network.pack({name: p[i] for name, p in params.items()}) for i in range(len(x))]
    together = network({name: torch.stack([p[name] for p in packed]) for name in params}, x)
    for i in range(len(x)):
        own = {name: p[i] for name, p in params.items()}
        alone = torch.func.functional_call(model, own, (x[i],))
        torch.testing.assert_close(together[i], alone, rtol=1e-11, atol=1e-12)


def test_unpacking_undoes_packing(model):
    network, params = stacked_network(model), dict(model.named_parameters())
    packed = {n: p.expand(2, *p.shape) for n, p in network.pack(params).items()}
    for name, p in network.unpack(packed, params).items():
        assert torch.equal(p[1], params[name])


def test_the_names_are_those_of_the_parameters(model):
    assert stacked_network(model).names() == [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize("head", [nn.Linear(8, 3), nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 3))])
def test_features_and_head_make_the_whole(head):
    model = Network(conv4(3, width=8).features, head).double()
    network, x = stacked_network(model), random(3, 2, 1, 28, 28)
    params = {
        n: p.expand(3, *p.shape) for n, p in network.pack(dict(model.named_parameters())).items()
    }
    features, last = network.split()
    assert all(name.startswith("head.") for name in last.names())
    torch.testing.assert_close(last(params, features(params, x)), network(params, x))


@pytest.mark.parametrize(
    "layer",
    [
        nn.PReLU(),
        nn.Conv2d(1, 2, 3, dilation=2),
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(1, 2, 3, stride=(1, 2)),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(0),
        nn.BatchNorm2d(3),
        nn.GroupNorm(1, 3, affine=False),
        nn.Dropout(),
    ],
)
def test_a_layer_that_is_not_known_is_left_to_the_plain_way(layer):
    assert stacked_network(nn.Sequential(nn.Identity(), layer)) is None


def test_a_layer_that_stands_in_two_places_is_left_to_the_plain_way():
    layer = nn.Linear(3, 3)
    assert stacked_network(nn.Sequential(layer, nn.ReLU(), layer)) is None


def test_an_activation_that_stands_in_two_places_acts_in_both():
    act = nn.Tanh()
    model = nn.Sequential(nn.Linear(3, 3), act, nn.Linear(3, 2), act).double()
    network, x = stacked_network(model), random(2, 4, 3)
    params = {n: p.expand(2, *p.shape) for n, p in model.named_parameters()}
    torch.testing.assert_close(network(params, x), model(x))


def test_hooks_are_left_to_the_plain_way():
    on_a_layer, on_the_whole = mlp(), mlp()
    on_a_layer.head.register_forward_hook(lambda *_: None)
    on_the_whole.register_forward_pre_hook(lambda *_: None)
    assert stacked_network(on_a_layer) is None and stacked_network(on_the_whole) is None


# What layers do with inputs of another rank, and shapes at which memory is laid out otherwise:
# the network, the shape of an example, and whether the tasks can be computed together.
SHAPES = {
    "rows of vectors": (
        lambda: nn.Sequential(nn.Linear(6, 4, bias=False), nn.Flatten(), nn.Linear(12, 2)),
        (3, 6),
        False,
    ),
    "rows of vectors, with a bias": (
        lambda: nn.Sequential(nn.Linear(6, 4), nn.Flatten(), nn.Linear(12, 2)),
        (3, 6),
        False,
    ),
    "groups of sequences": (
        lambda: nn.Sequential(nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(9, 2)),
        (3, 3),
        False,
    ),
    "groups of features": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(2, 6), nn.Linear(6, 2)),
        (4,),
        True,
    ),
    "a linear layer on images": (
        lambda: nn.Sequential(nn.Linear(5, 3), nn.Flatten(), nn.Linear(12, 2)),
        (1, 4, 5),
        False,
    ),
    "images of height 1": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, (1, 3)),
            nn.ReLU(),
            nn.Conv2d(2, 2, (1, 3)),
            nn.Flatten(),
            nn.Linear(8, 2),
        ),
        (1, 1, 8),
        True,
    ),
    "images of width 1": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, (3, 1)), BatchStatisticsNorm(3), nn.Flatten(), nn.Linear(18, 2)
        ),
        (1, 8, 1),
        True,
    ),
    "one pixel": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.Tanh(), nn.Flatten(), nn.Linear(3, 2)),
        (2, 1, 1),
        True,
    ),
    "steps of one pixel": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1),
            nn.GroupNorm(1, 2),
            nn.Conv2d(2, 2, 2, stride=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2, 2),
        ),
        (1, 4, 5),
        True,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("tasks", [2, 4])
def test_any_shape_of_an_example_gives_what_the_plain_loop_gives(name, tasks):
    make, shape, together = SHAPES[name]
    torch.manual_seed(0)
    model = make().double()
    x, y = random(tasks, 4, *shape), torch.arange(4).remainder(2).expand(tasks, -1)
    episode = Episode(x, y, random(tasks, 4, *shape, seed=1), y)
    assert (stacked_network(model, x) is not None) == together
    options = {"inner_lr": 0.1, "inner_steps": 2}
    found, plain = (
        _loss_and_gradient(model, maml_loss(model, episode, task_by_task=one_by_one, **options))
        for one_by_one in (False, True)
    )
    torch.testing.assert_close(found, plain, rtol=1e-10, atol=1e-12)
    step = reptile_step(model, episode, **options)
    alone = [reptile_step(model, task, **options) for task in episode.unbind()]
    for key, p in step.items():
        mean = torch.stack([one[key] for one in alone]).mean(dim=0)
        torch.testing.assert_close(p, mean, rtol=1e-10, atol=1e-12)


def _loss_and_gradient(model, loss):
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([loss.detach().view(1), *(g.flatten() for g in gradient)])


@pytest.mark.parametrize(
    "x", [torch.zeros(2, 3, 5), torch.zeros(2, 3, 5).half(), torch.zeros(2, 3, 5).long()]
)
def test_inputs_of_another_type_than_the_network_are_left_to_the_plain_way(x):
    assert stacked_network(mlp(5, 2).double(), x) is None


def test_inputs_that_are_not_contiguous_or_are_expanded_give_the_same():
    model = conv4(3, width=8).double()
    network, x = stacked_network(model), random(1, 1, 1, 14, 14).expand(3, 2, -1, -1, -1)
    params = network.pack({n: p[0] for n, p in stacked(model, 1).items()})
    params = {n: p.expand(3, *p.shape) for n, p in params.items()}
    turned = x.transpose(-1, -2)
    torch.testing.assert_close(network(params, turned), network(params, turned.contiguous()))

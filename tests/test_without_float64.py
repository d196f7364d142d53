"""A device without float64, as Apple's GPU is one, imitated on the CPU.

What lies there is a tensor of a class of its own, and so is all that is computed from it; nothing
of this class can be float64, and NumPy cannot look into it, before it has gone to the CPU.
"""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from metalearn_lite.checks import check_gradient, check_predict, check_unchanged
from metalearn_lite.datasets import ClassImages
from metalearn_lite.evaluation import Scores, accuracy, default_metric, evaluate
from metalearn_lite.judging import (
    METHODS,
    answers,
    cka,
    from_scratch,
    nearest_feature,
    nearest_pixel,
)
from metalearn_lite.maml import (
    MetaSGD,
    implicit_maml_loss,
    implicit_maml_predict,
    maml_loss,
    maml_predict,
    proto_maml_loss,
    proto_maml_predict,
)
from metalearn_lite.models import conv4, fix_statistics, mlp
from metalearn_lite.multitask import gradient_cosine, mgda, pcgrad
from metalearn_lite.prototypes import (
    LearnedRidge,
    logistic_head,
    prototype_loss,
    prototype_predict,
    ridge_loss,
    ridge_predict,
    svm_head,
    svm_predict,
)
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import reptile_loss, reptile_predict
from metalearn_lite.tasks import ImageTasks, SineTasks
from metalearn_lite.training import meta_train
from metalearn_lite.transfer import as_predict, fine_tune, linear_probe, pretrain

APPLE = torch.device("mps")
RATE = {"inner_lr": 0.1, "inner_steps": 2}


class There(Tensor):
    """A tensor that lies on the device."""

    @property
    def device(self):
        return APPLE

    def __deepcopy__(self, memo):
        return self.detach().clone().requires_grad_(self.requires_grad)


class Apple(TorchFunctionMode):
    """PyTorch with the device: whatever is made or computed there lies there."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        given = (kwargs.get("device"), *args)
        given = [str(v) for v in given if isinstance(v, str | torch.device)]
        place = torch.device(given[0]) if given and given[0] in ("mps", "cpu") else None
        if function is Tensor.cpu:
            place = torch.device("cpu")
        here = place is None and any(isinstance(t, There) for t in _tensors((args, kwargs)))
        if function is Tensor.numpy and isinstance(args[0], There):
            raise TypeError("can't convert mps:0 device type tensor to numpy")
        if place == APPLE:
            kwargs = {k: "cpu" if k == "device" else v for k, v in kwargs.items()}
            args = tuple("cpu" if str(v) == "mps" else v for v in args)
        with torch._C.DisableTorchFunctionSubclass():
            out = function(*args, **kwargs)
        if function is Tensor.device.__get__:
            return APPLE if here else out
        if place == APPLE or here:
            return _there(out)
        if place is not None and isinstance(out, There):
            return out.as_subclass(Tensor)
        return out


def _tensors(value):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _there(out):
    if isinstance(out, tuple | list):
        parts = [_there(part) for part in out]
        return type(out)(*parts) if hasattr(out, "_fields") else type(out)(parts)
    if not isinstance(out, Tensor):
        return out
    if out.dtype == torch.float64:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
    return out if isinstance(out, There) else out.as_subclass(There)


def on_the_device(value):
    return value.to("mps") if isinstance(value, Tensor) else value


@pytest.fixture
def apple():
    with Apple():
        yield


@pytest.fixture
def images(apple):
    made = torch.rand(10, 8, 1, 8, 8, generator=seeded(0))
    return ClassImages(made.to(APPLE), tuple("abcdefghij"), ("all",) * 10)


@pytest.fixture
def tasks(images):
    return ImageTasks(images, ways=3, shots=2, queries=4)


@pytest.fixture
def network(apple):
    return conv4(3, width=4, generator=seeded(1)).to(APPLE)


def test_the_imitation_does_as_the_device(apple):
    x = torch.randn(3, 4, device="mps")
    for found in (x, x @ x.T, x.to(torch.float16), torch.stack([x, x]), x.max(dim=1).values):
        assert type(found) is There and found.device == APPLE
    for wrong in (Tensor.double, Tensor.numpy, lambda t: t.to(torch.float64)):
        with pytest.raises(TypeError):
            wrong(x)
    assert x.cpu().double().numpy().shape == (3, 4) and x.cpu().device.type == "cpu"


PREDICTS = {
    "maml": partial(maml_predict, **RATE),
    "implicit": partial(implicit_maml_predict, penalty=1.0, **RATE),
    "reptile": partial(reptile_predict, **RATE),
    "scratch": partial(from_scratch, steps=2, lr=0.1),
    "prototypes": prototype_predict,
    "ridge": ridge_predict,
    "svm": svm_predict,
    "nearest feature": nearest_feature,
    "nearest pixel": nearest_pixel,
    "probe": as_predict(linear_probe),
    "fine-tuning": as_predict(partial(fine_tune, steps=2, lr=0.1)),
    "proto-maml": partial(proto_maml_predict, **RATE),
}


@pytest.mark.parametrize("name", PREDICTS)
def test_every_prediction_is_scored(tasks, network, name):
    there = tasks.sample(seeded(3))
    assert there.support_x.device == APPLE
    found = evaluate(network, PREDICTS[name], tasks, episodes=2, generator=seeded(0))
    assert type(found.values) is Tensor and found.values.dtype == torch.float64


@pytest.mark.parametrize(
    "objective",
    [
        partial(maml_loss, **RATE),
        partial(maml_loss, task_by_task=True, **RATE),
        partial(implicit_maml_loss, penalty=1.0, cg_steps=2, **RATE),
        partial(reptile_loss, **RATE),
        partial(proto_maml_loss, **RATE),
        prototype_loss,
        ridge_loss,
    ],
)
def test_every_objective_trains(tasks, network, objective):
    before = copy.deepcopy(network.state_dict())
    meta_train(
        network, objective, tasks, iterations=2, batch=2, generator=seeded(0), progress=False
    )
    assert any((before[n] != p).any() for n, p in network.named_parameters())


def test_values_are_scored_there(apple):
    tasks = SineTasks(shots=3, queries=4, device=APPLE)
    found = evaluate(
        mlp(1, 1), partial(maml_predict, **RATE), tasks, episodes=2, generator=seeded(0)
    )
    assert found.mean > 0
    x, y = torch.rand(4, 3).to(APPLE), torch.arange(4).to(APPLE) % 3
    assert 0 <= accuracy(x, y) <= 1 and default_metric(x, x) == 0
    assert Scores.of(x[:, 0]).values.dtype == torch.float64


@pytest.mark.parametrize("combine", [mgda, partial(pcgrad, generator=seeded(0)), gradient_cosine])
def test_gradients_of_several_tasks_are_combined_there(apple, combine):
    rows = torch.randn(3, 7, generator=seeded(0))
    found = combine(rows.to(APPLE))
    expected = combine(rows)
    assert found.device == APPLE
    torch.testing.assert_close(found.cpu(), expected)


def test_checks_compute_in_float64_all_the_same(tasks, network):
    one, other = tasks.sample(seeded(0)), tasks.sample(seeded(1))
    predict = partial(maml_predict, **RATE)
    assert check_gradient(partial(maml_loss, **RATE), network, one, directions=1) < 1e-4
    assert check_predict(predict, network, one, other=other).transductive
    check_unchanged(partial(maml_loss, **RATE), network, one)


@pytest.mark.filterwarnings("ignore:at.*frobenius_norm is deprecated")
def test_what_looks_into_networks_works_there(tasks, network):
    one = tasks.sample(seeded(0))
    x, y = one.support_x, one.support_y
    assert 0 <= cka(network.features(x), network.features(x) ** 2).item() <= 1
    for head in (logistic_head, svm_head):
        assert head(network.features(x), y)[0].device == APPLE
    assert fix_statistics(network, x)(x).device == APPLE
    trained = pretrain(network, x, y, steps=2, minibatch=3, generator=seeded(0))
    assert trained(x).device == APPLE


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers_there(tasks, network, name):
    learner = {"Meta-SGD": MetaSGD, "ridge": LearnedRidge}.get(name, lambda model: model)
    options = {"inner_lr": 0.1} | {
        key: int(values[0]) if "steps" in key else values[0]
        for key, values in METHODS[name].settings.items()
    }
    if "inner_steps" not in options:
        del options["inner_lr"]
    one = tasks.sample(seeded(0))
    network = METHODS[name].adapt(
        MetaSGD(network, 0.1) if name == "Meta-SGD" else learner(network), one, **options
    )
    for outputs in answers(network, one):
        assert outputs.shape == (12, 3)

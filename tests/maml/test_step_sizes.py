"""Clipped inner steps: their norm, their direction, and the meta-gradient through them."""

import math

import pytest
import torch

from metalearn_lite.maml import (
    MetaSGD,
    adapt,
    clipped,
    maml_loss,
    maml_predict,
    plain,
    proto_maml_loss,
)
from metalearn_lite.maml.step_sizes import check_rate_names, check_steps, shortened
from metalearn_lite.models import conv4, mlp
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import ImageTasks, SineTasks


def slopes():
    return [torch.tensor([3.0, 0.0], dtype=torch.float64), torch.tensor([[4.0]]).double()]


def test_gradients_are_shortened_together_to_the_norm_and_never_lengthened():
    mine, theirs = shortened(slopes(), clipped(0.1, max_norm=1.0)), slopes()
    torch.testing.assert_close(mine, [g / 5 for g in theirs])
    torch.testing.assert_close(shortened(slopes(), clipped(0.1, max_norm=7.0)), theirs)
    assert all(a is b for a, b in zip(shortened(theirs, 0.1), theirs, strict=True))


def test_the_norm_is_that_of_pytorch():
    params = [torch.zeros_like(g).requires_grad_() for g in slopes()]
    for p, gradient in zip(params, slopes(), strict=True):
        p.grad = gradient
    torch.nn.utils.clip_grad_norm_(params, 2.0)
    mine = shortened(slopes(), clipped(0.1, max_norm=2.0))
    torch.testing.assert_close(mine, [p.grad for p in params], rtol=1e-6, atol=0)


def test_a_gradient_of_zero_stays_zero_and_can_be_differentiated():
    zero = torch.zeros(2, requires_grad=True)
    (got,) = shortened([zero], clipped(0.1, max_norm=1.0))
    (slope,) = torch.autograd.grad(got.sum(), zero)
    assert torch.equal(got, zero) and torch.isfinite(slope).all()


@pytest.mark.parametrize("batch", [None, 3])
def test_no_clipped_step_is_longer_than_rate_times_norm_and_each_task_has_its_own(batch):
    model = mlp(hidden=(4,), generator=seeded(0)).double()
    episode = SineTasks(5, 5, dtype=torch.float64).sample(seeded(1), batch)
    params, limit = dict(model.named_parameters()), 0.2
    rate = clipped(0.5, max_norm=limit)
    options = {"inner_steps": 1}
    adapted = adapt(model, params, episode.support_x, episode.support_y, inner_lr=rate, **options)
    for i, task in enumerate(episode.unbind()):
        ends = [a if batch is None else a[i] for a in adapted.values()]
        moved = torch.cat([(e - p).flatten() for e, p in zip(ends, params.values(), strict=True)])
        plain_step = adapt(model, params, task.support_x, task.support_y, inner_lr=0.5, **options)
        whole = torch.cat(
            [(e - p).flatten() for e, p in zip(plain_step.values(), params.values(), strict=True)]
        )
        torch.testing.assert_close(moved.norm(), whole.norm().clamp(max=0.5 * limit))
        torch.testing.assert_close(moved / moved.norm(), whole / whole.norm())


def test_the_meta_gradient_is_that_of_the_clipped_steps():
    """Against a central difference, along a random direction, with steps that are clipped."""
    model = mlp(hidden=(4,), generator=seeded(0)).double()
    episode = SineTasks(5, 5, dtype=torch.float64).sample(seeded(1), 2)
    rate = clipped(0.3, max_norm=0.5)
    loss = maml_loss(model, episode, inner_lr=rate, inner_steps=2)
    assert loss != maml_loss(model, episode, inner_lr=0.3, inner_steps=2)
    params = list(model.parameters())
    gradients = torch.autograd.grad(loss, params)
    directions = [torch.randn(p.shape, generator=seeded(2), dtype=p.dtype) for p in params]
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    values = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            for p, d in zip(params, directions, strict=True):
                p.add_(d, alpha=step)
        values.append(maml_loss(model, episode, inner_lr=rate, inner_steps=2).detach())
    torch.testing.assert_close(slope, (values[0] - values[1]) / 2e-5, rtol=1e-6, atol=1e-8)


def test_a_limit_that_is_never_reached_changes_nothing():
    model = mlp(hidden=(4,), generator=seeded(0)).double()
    episode = SineTasks(5, 5, dtype=torch.float64).sample(seeded(1), 2)
    learner = MetaSGD(model, 0.1)
    options = {"inner_steps": 2}
    for rate in (0.1, learner.inner_lr):
        far = clipped(rate, max_norm=1e6)
        mine = maml_loss(model, episode, inner_lr=far, **options)
        torch.testing.assert_close(mine, plain.maml_loss(model, episode, inner_lr=rate, **options))
        torch.testing.assert_close(
            maml_predict(model, episode, inner_lr=far, **options),
            maml_predict(model, episode, inner_lr=rate, **options),
        )


@pytest.mark.parametrize("norm", [0, -1.0, math.inf, math.nan])
def test_a_norm_that_limits_nothing_is_an_error(norm):
    with pytest.raises(ValueError, match=r"max_norm is .*: expected a finite number above 0"):
        clipped(0.1, max_norm=norm)


@pytest.mark.parametrize("rate", [-0.1, math.inf])
def test_the_rate_of_a_clipped_step_is_checked_too(rate):
    params = {"w": torch.zeros(2, requires_grad=True)}
    with pytest.raises(ValueError, match=r"inner_lr is .*: expected a finite step size"):
        check_steps(clipped(rate, max_norm=1.0), 1, params)


# what is refused


def parameters(*, learned=("w", "b")):
    values = {"w": torch.tensor([1.0, -2.0]), "b": torch.tensor([3.0])}
    return {name: p.requires_grad_(name in learned) for name, p in values.items()}


def rates(*, learned=()):
    return {name: torch.tensor(0.1, requires_grad=name in learned) for name in ("w", "b", "other")}


@pytest.mark.parametrize("rate", [0.0, 5, 1e30, {"w": 0.1, "b": torch.ones(1), "other": 0.2}])
def test_a_finite_rate_of_zero_or_more_or_one_for_each_parameter_passes(rate):
    for steps in (0, 1, 100):
        check_steps(rate, steps, parameters())


@pytest.mark.parametrize("rate", [torch.tensor(-0.1), torch.ones(2)])
def test_a_tensor_passes_for_learned_rates_may_become_negative(rate):
    check_steps(rate, 1, parameters())
    check_steps(dict.fromkeys(parameters(), rate), 1, parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_steps": -1}, "inner_steps is -1: expected a whole number, 0 or more"),
        ({"inner_steps": 1.5}, r"inner_steps is 1\.5"),
        ({"inner_steps": True}, "inner_steps is True"),
        ({"inner_steps": "2"}, "inner_steps is '2'"),
        ({"inner_lr": -0.1}, r"inner_lr is -0\.1: expected a finite step size, 0 or more"),
        ({"inner_lr": math.nan}, "inner_lr is nan"),
        ({"inner_lr": math.inf}, "inner_lr is inf"),
        ({"inner_lr": {"w": 0.1}}, "inner_lr has no rate for 'b': expected one for each of the 2"),
        ({"inner_lr": {}}, "no rate for 'b'"),
        ({"params": {}}, "there is nothing to adapt: expected parameters that require a gradient"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(options, message):
    settings = {"inner_lr": 0.1, "inner_steps": 1, "params": parameters(), **options}
    with pytest.raises(ValueError, match=message):
        check_steps(**settings)


@pytest.mark.parametrize("rate", [True, "0.1", None, torch.tensor(1), torch.tensor(math.nan)])
def test_what_is_no_step_size_is_named(rate):
    for given in (rate, {"w": rate}, clipped(rate, max_norm=1.0)):
        with pytest.raises(ValueError, match="expected a finite step size, 0 or more"):
            check_steps(given, 1, {"w": torch.zeros(2)})


def test_a_rate_on_the_cpu_is_read_also_while_a_gpu_records(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(ValueError, match="expected a finite step size"):
        check_steps(torch.tensor(math.nan), 1, parameters())


def test_a_rate_for_a_parameter_that_there_is_not_is_named():
    model = mlp(generator=seeded(0))
    rates = dict.fromkeys(dict(model.named_parameters()), 0.1)
    check_rate_names(model, rates)
    for given in (rates | {"b": 0.1, "a": 0.1}, clipped(rates | {"a": 0.1}, max_norm=1.0)):
        with pytest.raises(ValueError, match="has a rate for 'a', which the network has not"):
            check_rate_names(model, given)


def test_steps_are_refused_in_inference_mode():
    with torch.inference_mode(), pytest.raises(ValueError, match="gradients are needed to adapt"):
        check_steps(0.1, 1, {"w": torch.zeros(2)})


def test_proto_maml_takes_clipped_steps_and_meta_sgd_names_what_it_takes():
    tasks = ImageTasks(torch.rand(5, 4, 1, 8, 8, generator=seeded(0)), 3, 1, 1)
    model, episode = conv4(3, width=8, generator=seeded(0)), tasks.sample(seeded(1), 2)
    losses = [
        proto_maml_loss(model, episode, inner_lr=rate, inner_steps=1)
        for rate in (0.5, clipped(0.5, max_norm=1e-6), 0.0)
    ]
    torch.testing.assert_close(losses[1], losses[2], rtol=1e-4, atol=1e-5)
    assert not torch.isclose(losses[0], losses[2])
    with pytest.raises(ValueError, match=r"inner_lr is .*: expected a finite number, 0 or more"):
        MetaSGD(model, clipped(0.1, max_norm=1.0))

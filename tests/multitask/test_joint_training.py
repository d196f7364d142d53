import copy
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metalearn_lite.models import Network, initialise
from metalearn_lite.multitask import (
    MISSING,
    MultiTask,
    UncertaintyWeights,
    by_gradnorm,
    by_surgery,
    by_uncertainty,
    by_weights,
    mgda,
    pcgrad,
    skill,
    train_together,
)
from metalearn_lite.randomness import seeded
from metalearn_lite.transfer import pretrain

N = 48


@pytest.fixture
def data(generator):
    x = torch.randn(N, 5, generator=generator)
    noise = torch.randn(N, 2, generator=generator)
    return x, {"sort": (x[:, 0] + x[:, 1] > 0).long(), "size": x[:, :2] + 0.1 * noise}


def network(*names, seed=0):
    heads = {"sort": nn.Linear(8, 2), "size": nn.Linear(8, 2)}
    trunk = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8))
    return initialise(MultiTask(trunk, {n: heads[n] for n in names or heads}), seeded(seed))


def train(model, data, **options):
    settings = {"steps": 12, "generator": seeded(0), "minibatch": 16} | options
    return train_together(model, *data, **settings)


def assert_same(a, b, **tolerance):
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=lambda m, n=name: f"{n}: {m}", **tolerance)


def balances():
    return {
        "plain": None,
        "weights": by_weights(),
        "gradnorm": by_gradnorm({"sort": 1.0}),
        "pcgrad": by_surgery(partial(pcgrad, generator=seeded(0))),
        "mgda": by_surgery(mgda),
    }


# --- one task -----------------------------------------------------------------------


@pytest.mark.parametrize("name", balances())
def test_with_one_task_every_method_is_plain_training(data, name):
    x, targets = data
    model = network("sort")
    twin = Network(copy.deepcopy(model.trunk), copy.deepcopy(model.heads["sort"]))
    plain = pretrain(twin, x, targets["sort"], steps=12, generator=seeded(0), minibatch=16)
    trained = train(model, data, balance=balances()[name])
    torch.testing.assert_close(trained(x)["sort"], plain(x))


def test_with_one_task_uncertainty_is_plain_training_in_another_unit(data):
    """The gradient keeps its direction, and Adam does not see its length."""
    gradients = []
    for variance in (0.0, 2.0):
        uncertainty = UncertaintyWeights({"sort": "classification"})
        nn.init.constant_(uncertainty.log_variance, variance)
        model = network("sort")
        loss = F.cross_entropy(model(data[0])["sort"], data[1]["sort"])
        gradients.append(torch.autograd.grad(uncertainty({"sort": loss}), [*model.parameters()]))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one * math.exp(-2))
    balance = by_uncertainty(UncertaintyWeights({"sort": "classification"}), lr=1e-3)
    trained, plain = train(network("sort"), data, balance=balance), train(network("sort"), data)
    assert_same(trained, plain, atol=1e-4, rtol=0)


# --- several tasks ------------------------------------------------------------------


def test_without_balance_it_is_adam_on_the_sum_of_the_losses(data):
    x, targets = data
    model = network()
    twin, generator = copy.deepcopy(model), seeded(0)
    optimizer = torch.optim.Adam(twin.parameters())
    for step in range(12):
        optimizer.param_groups[0]["lr"] = 6e-3 * (1 - step / 12)
        rows = torch.randint(N, (16,), generator=generator)
        out = twin(x[rows])
        loss = F.cross_entropy(out["sort"], targets["sort"][rows])
        loss = loss + F.mse_loss(out["size"], targets["size"][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert_same(train(model, data), twin)


def test_unless_it_is_told_otherwise_a_step_sees_64_and_the_first_has_a_size_of_0_006(data):
    usual = {"minibatch": 64, "lr": 6e-3, "generator": seeded(0)}
    found = train_together(network(), *data, steps=3, generator=seeded(0))
    assert_same(found, train_together(network(), *data, steps=3, **usual), atol=0, rtol=0)
    held_out = data[0][:16], {name: t[:16] for name, t in data[1].items()}
    train(network(), data, steps=20, validation=held_out)  # looked at once, at the end
    with pytest.raises(ValueError, match="every is 20 and steps 19: expected at most as many"):
        train(network(), data, steps=19, validation=held_out)


@pytest.mark.parametrize(
    ("balance", "usual"),
    [
        (lambda **o: by_gradnorm({"sort": 1.0, "size": 3.0}, **o), {"alpha": 1.5, "lr": 0.025}),
        (lambda **o: by_uncertainty(both_kinds(), **o), {"lr": 0.05}),
    ],
)
def test_unless_it_is_told_otherwise_a_balance_learns_at_its_usual_pace(data, balance, usual):
    told = train(network(), data, balance=balance(**usual))
    assert_same(train(network(), data, balance=balance()), told, atol=0, rtol=0)
    faster = train(network(), data, balance=balance(**usual | {"lr": 0.5}))
    assert not torch.equal(faster.trunk[0].weight, told.trunk[0].weight)


def both_kinds():
    return UncertaintyWeights({"sort": "classification", "size": "regression"})


def test_surgery_by_the_plain_sum_is_plain_training(data):
    balance = by_surgery(lambda rows: rows.sum(0))
    assert_same(train(network(), data, balance=balance), train(network(), data))


def test_surgery_leaves_each_head_its_own_gradient(data):
    gradients = {}
    watched = network()

    def watch(step, model, losses):
        own = torch.autograd.grad(sum(losses.values()), [*model.heads.parameters()], retain_graph=1)
        gradients["own"] = own

    def zero(rows):
        gradients["rows"] = rows
        return torch.zeros_like(rows[0])

    trained = train(watched, data, steps=1, balance=by_surgery(zero), watch=watch)
    assert gradients["rows"].shape == (2, sum(p.numel() for p in watched.trunk.parameters()))
    assert_same(trained.trunk, watched.trunk)  # the trunk was told not to move
    assert all(g.any() for g in gradients["own"])
    assert not torch.equal(trained.heads["sort"].weight, watched.heads["sort"].weight)


def test_surgery_sees_the_weighted_losses(data):
    seen = []
    for weights in (None, {"sort": 2.0, "size": 0.0}):
        keep = by_surgery(lambda rows: seen.append(rows) or rows.sum(0), weights=weights)
        train(network(), data, steps=1, balance=keep)
    torch.testing.assert_close(seen[1][0], 2 * seen[0][0])
    assert not seen[1][1].any()


def test_a_task_of_weight_zero_does_not_move_the_trunk(data):
    weights = {"sort": 1.0, "size": 0.0}
    trained = train(network(), data, balance=by_weights(weights))
    alone = train(network("sort"), data)
    assert_same(trained.trunk, alone.trunk)


def test_uncertainty_weights_are_trained_in_place_towards_their_rest(data):
    uncertainty = UncertaintyWeights({"sort": "classification", "size": "regression"})
    last = {}

    def watch(step, model, losses):
        last.update({name: loss.item() for name, loss in losses.items()})

    balance = by_uncertainty(uncertainty, lr=0.05)
    train(network(), data, steps=600, minibatch=N * 4, balance=balance, watch=watch, lr=1e-4)
    for name, weight in uncertainty.weights().items():
        assert weight == pytest.approx(1 / (2 * last[name]), rel=0.15)


def test_gradnorm_weights_are_changed_in_place_and_keep_their_sum(data):
    weights = {"sort": 1.0, "size": 1.0}
    x, targets = data
    loud = targets | {"size": 100 * targets["size"]}
    train(network(), (x, loud), steps=50, balance=by_gradnorm(weights))
    assert weights["size"] < 0.5 < weights["sort"]
    assert sum(weights.values()) == pytest.approx(2)


@pytest.mark.parametrize(
    "balance",
    [
        lambda: None,
        lambda: by_weights({"sort": 1.0, "size": 2.0}),
        lambda: by_uncertainty(
            UncertaintyWeights({"sort": "classification", "size": "regression"})
        ),
        lambda: by_gradnorm({"sort": 1.0, "size": 1.0}),
        lambda: by_surgery(partial(pcgrad, generator=seeded(0)), weights={"sort": 1, "size": 2}),
        lambda: by_surgery(mgda),
    ],
)
def test_batches_without_a_label_of_a_task_do_no_harm(data, balance):
    x, targets = data
    rare = {name: t.clone() for name, t in targets.items()}
    rare["sort"][2:] = MISSING
    rare["size"][5:] = torch.nan
    trained = train(network(), (x, rare), steps=40, minibatch=3, balance=balance())
    assert all(p.isfinite().all() for p in trained.parameters())
    assert not torch.equal(trained.heads["sort"].weight, network().heads["sort"].weight)


# --- the loop -----------------------------------------------------------------------


def test_the_model_and_the_targets_that_are_given_are_unchanged(data):
    model = network()
    trained = train(model, data)
    assert all(p.grad is None for p in trained.parameters())
    assert_same(model, network())
    assert all(p.grad is None for p in model.parameters())


def test_no_steps_change_nothing(data):
    assert_same(train(network(), data, steps=0), network())


def test_early_stopping_returns_the_best_that_was_seen(data):
    x, targets = data
    held_out = x[:16], {name: t[:16] for name, t in targets.items()}
    reversed_targets = targets | {"sort": 1 - targets["sort"], "size": -targets["size"]}
    options = {"steps": 60, "lr": 0.05, "every": 5}
    plain = train(network(), (x, reversed_targets), **options)
    stopped = train(network(), (x, reversed_targets), validation=held_out, **options)
    best, last = (sum(skill(m, *held_out).values()) for m in (stopped, plain))
    assert best > last + 0.5  # learning the opposite, the first look is the best


def test_the_validation_is_looked_at_after_every_so_many_steps(data, monkeypatch):
    begun, looks = [], []
    module = "metalearn_lite.multitask.joint_training.skill"
    monkeypatch.setattr(module, lambda *_: looks.append(len(begun)) or {"sort": 0.5})
    watch = {"watch": lambda step, model, losses: begun.append(step), "validation": data}
    train(network(), data, steps=12, every=5, **watch)
    assert begun == list(range(12)) and looks == [5, 10]


def test_the_best_is_that_of_the_highest_mean_over_the_tasks_that_have_a_skill(data, monkeypatch):
    scores = iter([{"a": 0.4, "b": math.nan}, {"a": 0.3, "b": 0.4}, {"a": 0.2, "b": 0.5}])
    monkeypatch.setattr("metalearn_lite.multitask.joint_training.skill", lambda *_: next(scores))
    seen = []
    watch = {"watch": lambda step, model, losses: seen.append(copy.deepcopy(model))}
    stopped = train(network(), data, steps=6, every=2, validation=data, **watch)
    assert_same(stopped, seen[2], atol=0, rtol=0)  # as it was after two steps


def test_a_validation_without_any_skill_is_an_error(data):
    x, targets = data
    alike = x, {"sort": torch.zeros_like(targets["sort"]), "size": torch.ones(N, 2)}
    with pytest.raises(ValueError, match="no task of the validation has a skill: expected labels"):
        train(network(), data, steps=2, every=2, validation=alike)


def test_gradnorm_measures_on_the_last_matrix_of_the_trunk(data, monkeypatch):
    layers = [nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)]
    model = initialise(MultiTask(nn.Sequential(*layers), {"sort": nn.Linear(8, 2)}), seeded(0))
    losses, seen = {"sort": F.cross_entropy(model(data[0])["sort"], data[1]["sort"])}, []

    def step(weights, norms, *others, **options):
        seen.append(norms)
        return weights

    monkeypatch.setattr("metalearn_lite.multitask.joint_training.gradnorm_step", step)
    by_gradnorm({"sort": 1.0})(model, losses)
    assert seen == [pytest.approx({"sort": model.trunk[4].weight.grad.norm().item()})]


def test_no_steps_need_no_look_at_the_validation(data):
    x, targets = data
    held_out = x[:16], {name: t[:16] for name, t in targets.items()}
    assert_same(train(network(), data, steps=0, validation=held_out), network())
    with pytest.raises(ValueError, match="every is 20 and steps 1: expected at most as many"):
        train(network(), data, steps=1, validation=held_out)


def test_targets_of_tasks_without_a_head_are_left_out(data):
    assert_same(train(network("sort"), data), train(network("sort"), (data[0], {**data[1]})))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"balance": by_weights({"sort": 1.0})}, r"losses of unknown tasks \['size'\]"),
        (
            {"balance": by_weights({"sort": 1.0, "size": -1.0})},
            "expected a finite number, 0 or more",
        ),
        ({"balance": by_gradnorm({"sort": 1.0})}, "unknown tasks"),
        ({"balance": by_surgery(lambda rows: rows)}, "split"),
        ({"steps": -1}, "steps is -1"),
        ({"lr": 0}, "lr is 0"),
        ({"minibatch": 0}, "minibatch is 0"),
        ({"every": 0}, "every is 0"),
        ({"lr": 1e30}, "in step 2.*lower the learning rate"),
    ],
)
def test_options_that_do_not_fit_raise(data, options, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        train(network(), data, **options)


def test_targets_that_do_not_fit_raise(data):
    x, targets = data
    with pytest.raises(ValueError, match=r"heads \['size', 'sort'\]"):
        train(network(), (x, {"sort": targets["sort"]}))
    with pytest.raises(ValueError, match="got 0 inputs"):
        train(network(), (x[:0], {name: t[:0] for name, t in targets.items()}))
    with pytest.raises(ValueError, match="got 47 inputs"):
        train(network(), (x[1:], targets))


# --- frozen parts -------------------------------------------------------------------


def frozen(*names):
    model = network()
    for name, p in model.named_parameters():
        p.requires_grad_(not name.startswith(names))
    return model


@pytest.mark.parametrize("name", balances())
@pytest.mark.parametrize("part", ["trunk.0", "trunk.2", "heads.sort", "heads"])
def test_frozen_parts_stay_and_the_others_learn_by_every_method(data, name, part):
    model, balance = frozen(part), balances()[name]
    if name == "gradnorm":
        balance = by_gradnorm({"sort": 1.0, "size": 1.0})
    trained = train(model, data, steps=3, balance=balance)
    for (key, before), after in zip(model.named_parameters(), trained.parameters(), strict=True):
        assert torch.equal(before, after) == key.startswith(part), key


@pytest.mark.parametrize("name", ["gradnorm", "pcgrad", "mgda"])
def test_a_frozen_trunk_has_no_gradients_to_balance(data, name):
    with pytest.raises(ValueError, match="no parameter of the trunk requires a gradient: expected"):
        train(frozen("trunk"), data, steps=1, balance=balances()[name])

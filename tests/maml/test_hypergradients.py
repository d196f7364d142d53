"""Gradients by settings of the training, against closed forms, differences and each other."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.functional import hessian, jacobian

from metalearn_lite.maml import implicit_hypergradient, unrolled_hypergradient
from metalearn_lite.maml.hypergradients import conjugate_gradients, neumann_series
from metalearn_lite.maml.plain import descend
from metalearn_lite.randomness import seeded

EXACT = {"rtol": 1e-9, "atol": 1e-12}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


# Ridge regression: the optimum is a formula, and so is how it moves.

X, Y, NEW_X, NEW_Y = random(12, 4), random(12, seed=1), random(8, 4, seed=2), random(8, seed=3)
SETTINGS = {"log_penalty": torch.tensor(-1.0).double(), "log_weights": 0.3 * random(12, seed=4)}


def train_loss(weights, settings):
    errors = settings["log_weights"].exp() * (X @ weights["w"] - Y).square()
    return errors.mean() + settings["log_penalty"].exp() * weights["w"].square().sum()


def validation_loss(weights, settings):
    return F.mse_loss(NEW_X @ weights["w"], NEW_Y)


def optimum(settings):
    """The weights of least training loss, connected to the settings."""
    weighted = settings["log_weights"].exp().unsqueeze(1) * X / len(X)
    gram = weighted.mT @ X + settings["log_penalty"].exp() * torch.eye(4).double()
    return {"w": torch.linalg.solve(gram, weighted.mT @ Y)}


def best():
    return optimum(SETTINGS)


def through_the_formula():
    settings = {name: s.clone().requires_grad_() for name, s in SETTINGS.items()}
    loss = validation_loss(optimum(settings), settings)
    return dict(zip(settings, torch.autograd.grad(loss, list(settings.values())), strict=True))


def implicit(weights, **options):
    losses = (train_loss, validation_loss)
    return implicit_hypergradient(*losses, weights, SETTINGS, **{"steps": 4} | options)


def unrolled(weights, **options):
    losses = (train_loss, validation_loss)
    return unrolled_hypergradient(*losses, weights, SETTINGS, **{"lr": 0.2} | options)


def gap(a, b):
    """The distance of two gradients, as a share of the second."""
    a, b = (torch.cat([part.flatten() for part in each.values()]) for each in (a, b))
    return ((a - b).norm() / b.norm()).item()


def test_the_derivative_of_ridge_regression_by_its_penalty_is_the_formula():
    """dL/dλ = -∇L · (XᵀX / n + λ I)⁻¹ w, for a mean squared error + λ ‖w‖²."""
    settings = {"log_penalty": SETTINGS["log_penalty"], "log_weights": torch.zeros(12).double()}
    w = optimum(settings)["w"]
    slope = 2 * NEW_X.mT @ (NEW_X @ w - NEW_Y) / len(NEW_X)
    penalty = settings["log_penalty"].exp()
    moved = -torch.linalg.solve(X.mT @ X / len(X) + penalty * torch.eye(4).double(), w)
    found = implicit_hypergradient(train_loss, validation_loss, {"w": w}, settings, steps=4)
    torch.testing.assert_close(found["log_penalty"], penalty * slope @ moved, **EXACT)


def test_all_settings_of_ridge_regression_get_what_the_formula_gives():
    found = implicit(best())
    torch.testing.assert_close(found, through_the_formula(), **EXACT)
    assert found["log_penalty"].shape == () and found["log_weights"].shape == (12,)


def test_unrolled_comes_to_implicit_as_the_steps_lead_to_the_optimum():
    away = {"w": random(4, seed=5)}
    gaps = [gap(unrolled(away, steps=steps), implicit(best())) for steps in (1, 5, 25, 125)]
    assert gaps == sorted(gaps, reverse=True) and gaps[0] > 0.3 and gaps[-1] < 1e-9


@pytest.mark.parametrize("terms", [1, 2, 7])
def test_the_terms_of_the_series_are_steps_from_the_optimum(terms):
    series = implicit(best(), steps=terms, neumann_lr=0.2)
    torch.testing.assert_close(series, unrolled(best(), steps=terms), **EXACT)


def test_the_series_comes_to_conjugate_gradients_with_more_terms():
    gaps = [
        gap(implicit(best(), steps=terms, neumann_lr=0.2), implicit(best()))
        for terms in (1, 5, 25, 125)
    ]
    assert gaps == sorted(gaps, reverse=True) and gaps[0] > 0.3 and gaps[-1] < 1e-9


# A network with two layers, and a step size for each of them among the settings

WEIGHTS = {"first": random(3, 4, seed=6), "second": random(3, seed=7)}
RATES = {"log_lr first": math.log(0.1), "log_lr second": math.log(0.02), "penalty": 0.3}


def network(weights, x):
    return torch.tanh(x @ weights["first"].mT) @ weights["second"]


def network_loss(weights, settings):
    return (
        F.mse_loss(network(weights, X), 2 * X[:, 0].sin())
        + settings["penalty"] * weights["first"].square().sum()
    )


def network_validation(weights, settings):
    return (
        F.mse_loss(network(weights, NEW_X), 2 * NEW_X[:, 0].sin()) + 0.1 * settings["penalty"] ** 2
    )


def rates(settings):
    return {name: settings[f"log_lr {name}"].exp() for name in WEIGHTS}


def after_descent(steps, settings):
    """Train by hand, and return the validation loss."""
    weights = {name: w.clone().requires_grad_() for name, w in WEIGHTS.items()}
    for _ in range(steps):
        slopes = torch.autograd.grad(network_loss(weights, settings), list(weights.values()))
        for (name, w), slope in zip(weights.items(), slopes, strict=True):
            w.data -= rates(settings)[name] * slope
    return network_validation(weights, settings).item()


@pytest.mark.parametrize("steps", [1, 4])
def test_unrolled_is_the_central_difference_of_the_training_also_by_its_step_sizes(steps):
    settings = {name: torch.tensor(value).double() for name, value in RATES.items()}
    losses = (network_loss, network_validation)
    found = unrolled_hypergradient(*losses, WEIGHTS, settings, lr=rates, steps=steps)
    for name in settings:
        ends = [
            after_descent(steps, settings | {name: settings[name] + sign * 1e-5})
            for sign in (1, -1)
        ]
        assert found[name].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-7)


def test_implicit_is_the_central_difference_of_the_optimum_of_a_network():
    def loss(weights, settings):
        return network_loss(weights, settings) + 0.05 * weights["second"].square().sum()

    def named(flat):
        return {"first": flat[:12].view(3, 4), "second": flat[12:]}

    def trained(penalty):
        settings = {"penalty": torch.tensor(penalty, dtype=torch.float64)}
        weights = descend(lambda w: loss(w, settings), WEIGHTS, inner_lr=0.3, inner_steps=200)
        flat = torch.cat([w.flatten() for w in weights.values()])
        for _ in range(10):  # of Newton's method
            curvature, slope = (
                derivative(lambda v: loss(named(v), settings), flat)
                for derivative in (hessian, jacobian)
            )
            flat = flat - torch.linalg.solve(curvature, slope)
        assert slope.norm() < 1e-12 and torch.linalg.eigvalsh(curvature)[0] > 0
        return named(flat), settings

    ends = [network_validation(*trained(0.05 + sign * 1e-5)).item() for sign in (1, -1)]
    found = implicit_hypergradient(loss, network_validation, *trained(0.05), steps=60)
    assert found["penalty"].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


def test_what_the_validation_loss_takes_from_a_setting_itself_is_added():
    def validation(weights, settings):
        return validation_loss(weights, settings) + 3 * settings["log_penalty"]

    for each in (
        implicit_hypergradient(train_loss, validation, best(), SETTINGS, steps=4),
        unrolled_hypergradient(train_loss, validation, best(), SETTINGS, lr=0.2, steps=200),
    ):
        expected = through_the_formula()
        expected["log_penalty"] = expected["log_penalty"] + 3
        torch.testing.assert_close(each, expected, **EXACT)


def test_a_setting_that_nothing_depends_on_gets_zeros():
    settings = {**SETTINGS, "unused": torch.ones(2, 3)}
    losses = (train_loss, validation_loss)
    for found in (
        implicit_hypergradient(*losses, best(), settings, steps=4),
        unrolled_hypergradient(*losses, best(), settings, lr=0.2, steps=2),
    ):
        assert torch.equal(found["unused"], torch.zeros(2, 3))


@pytest.mark.parametrize("rate", [lambda s: s["s"], lambda s: 2])
def test_a_training_loss_without_curvature_leaves_what_the_setting_does_itself(rate):
    found = implicit_hypergradient(
        lambda w, s: (w["w"] * rate(s)).sum(),
        lambda w, s: w["w"].square().sum() * s["s"],
        {"w": torch.ones(2)},
        {"s": torch.tensor(1.0)},
        steps=3,
    )
    assert found["s"] == 2


def test_nothing_that_is_given_is_changed_and_gradients_may_be_off():
    weights = {"w": best()["w"].requires_grad_()}
    before = weights["w"].detach().clone(), {name: s.clone() for name, s in SETTINGS.items()}
    with torch.no_grad():
        found = implicit(weights), unrolled(weights, steps=2)
    assert torch.equal(weights["w"], before[0]) and weights["w"].grad is None
    for name, setting in SETTINGS.items():
        assert torch.equal(setting, before[1][name]) and not setting.requires_grad
        assert not found[0][name].requires_grad and not found[1][name].requires_grad
    torch.testing.assert_close(found[0], implicit(weights))


# The solvers alone


def systems(tasks=3, size=5):
    root = random(tasks, size, size, seed=8)
    return root @ root.mT + 0.5 * torch.eye(size).double(), random(tasks, size, seed=9)


def times(matrix):
    return lambda v: (matrix @ v.unsqueeze(-1)).squeeze(-1)


def test_as_many_steps_as_unknowns_solve_each_of_several_systems():
    matrix, b = systems()
    x, left = conjugate_gradients(times(matrix), b, steps=5)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b), rtol=1e-9, atol=1e-9)
    for i in range(3):
        alone, _ = conjugate_gradients(times(matrix[i]), b[i], steps=5)
        torch.testing.assert_close(alone, x[i], rtol=1e-9, atol=1e-9)
    assert (left.norm(dim=1) < 1e-9 * b.norm(dim=1)).all()


def test_two_steps_are_enough_for_two_eigenvalues_and_one_is_not():
    basis = torch.linalg.qr(random(6, 6)).Q
    matrix = basis @ torch.diag(torch.tensor([1.0, 1, 1, 9, 9, 9]).double()) @ basis.mT
    b = random(6, seed=1)
    gaps = [
        (conjugate_gradients(times(matrix), b, steps=n)[0] - torch.linalg.solve(matrix, b)).norm()
        for n in (1, 2, 50)
    ]
    assert gaps[0] > 0.1 and gaps[1] < 1e-12 and gaps[2] < 1e-12


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_what_is_left_is_the_right_side_less_the_product(steps):
    matrix, b = systems()
    for x, left in (
        conjugate_gradients(times(matrix), b, steps=steps),
        neumann_series(times(matrix), b, steps=steps, lr=0.05),
    ):
        torch.testing.assert_close(left, b - times(matrix)(x), **EXACT)


def test_what_is_left_never_falls_below_rounding():
    matrix, b = systems()
    _, left = conjugate_gradients(times(matrix), b, steps=200)
    share = left.norm(dim=1) / b.norm(dim=1)
    assert (share > 1e-20).all() and (share < 1e-12).all()


def test_one_system_that_is_solved_waits_for_the_others():
    matrix, b = systems()
    b[1] = 0
    x, _ = conjugate_gradients(times(matrix), b, steps=5)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b), rtol=1e-9, atol=1e-9)
    assert (x[1] == 0).all()


def test_downward_curvature_stops_the_system_that_has_it_alone():
    matrix, b = systems()
    matrix[1] = torch.diag(torch.tensor([2.0, 1, 1, 1, -1e-3]).double())
    b[1] = torch.tensor([1.0, 1, 1, 1, 1])
    x, left = conjugate_gradients(times(matrix), b, steps=9)
    two, _ = conjugate_gradients(times(matrix), b, steps=2)
    torch.testing.assert_close(x[[0, 2]], torch.linalg.solve(matrix, b)[[0, 2]])
    torch.testing.assert_close(x[1], two[1])
    torch.testing.assert_close(left[1], b[1] - matrix[1] @ x[1])
    assert left[1].norm() > 0.1
    down, _ = conjugate_gradients(lambda v: -v, b, steps=3)
    assert (down == 0).all()


def test_a_nan_is_not_lost_on_the_way():
    x, _ = conjugate_gradients(lambda v: v * math.nan, torch.ones(3), steps=2)
    assert x.isnan().all()


# What cannot be meant


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"steps": 0}, "steps is 0: expected a whole number, 1 or more"),
        ({"neumann_lr": 0.0}, "neumann_lr is 0.0: expected a finite number above 0"),
        ({"neumann_lr": math.nan}, "neumann_lr is nan: expected"),
        ({"settings": {}}, r"settings holds \[\]: expected floating tensors by name, one or more"),
        ({"settings": {"a": 1.0}}, r"settings holds \['float'\]: expected floating tensors"),
        ({"settings": {"a": torch.tensor(1)}}, r"settings holds \[torch.int64\]: expected"),
        ({"weights": [torch.ones(4)]}, r"weights holds \[\]: expected floating tensors"),
        ({"train_loss": lambda w, s: w["w"]}, r"(?s)a loss gave .*: expected a scalar tensor, fi"),
        ({"train_loss": lambda w, s: 1.0}, "a loss gave 1.0: expected a scalar tensor"),
        ({"validation_loss": lambda w, s: w["w"].sum() * math.inf}, "a loss gave .*inf.*finite"),
        ({"lr": -0.1}, "inner_lr is -0.1: expected a finite step size"),
        ({"lr": {"v": 0.1}}, "inner_lr has no rate for 'w'"),
    ],
)
def test_what_cannot_be_meant_is_named(change, text):
    given = {
        "train_loss": train_loss,
        "validation_loss": validation_loss,
        "weights": best(),
        "settings": SETTINGS,
        "steps": 4,
    }
    if "lr" not in change:
        with pytest.raises(ValueError, match=text):
            implicit_hypergradient(**given | change)
    if "neumann_lr" not in change:
        with pytest.raises(ValueError, match=text):
            unrolled_hypergradient(**{"lr": 0.2} | given | change)


def test_gradients_that_are_ruled_out_are_asked_for_in_words():
    with torch.inference_mode(), pytest.raises(ValueError, match="inference_mode"):
        implicit(best())


def test_a_descent_that_grows_is_named():
    with pytest.raises(ValueError, match="finite; lower lr if it grew"):
        unrolled(best() | {"w": random(4)}, lr=1e200, steps=9)

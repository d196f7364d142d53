import math

import pytest
import torch

from metalearn_lite.multitask import (
    UncertaintyWeights,
    gradnorm_loss,
    gradnorm_step,
    tune_weights,
    weighted_loss,
)
from metalearn_lite.randomness import seeded


def losses(**values):
    return {name: torch.tensor(float(v), requires_grad=True) for name, v in values.items()}


# --- fixed weights ------------------------------------------------------------------


def test_equal_weights_are_the_plain_sum():
    three = losses(a=1.5, b=2.25, c=0.125)
    total = sum(three.values())
    assert torch.equal(weighted_loss(three), total)
    assert torch.equal(weighted_loss(three, dict.fromkeys(three, 1.0)), total)


def test_weights_go_by_name_and_not_by_order():
    assert weighted_loss(losses(a=1, b=10), {"b": 0.5, "a": 3}).item() == 8
    two = losses(a=1, b=10)
    weighted_loss(two, {"b": 0.0, "a": 3}).backward()
    assert two["a"].grad == 3 and two["b"].grad == 0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1.0, "typo": 1.0}, r"weights of unknown tasks \['typo'\]"),
        ({"a": 1.0}, r"weights are given for \['a'\]: expected one for each of \['a', 'b'\]"),
        ({"a": 1.0, "b": -0.1}, r"weights\['b'\] is -0.1: expected"),
        ({"a": math.nan, "b": 1.0}, "expected a finite number, 0 or more"),
        ({"a": math.inf, "b": 1.0}, "expected a finite number, 0 or more"),
    ],
)
def test_weights_that_do_not_fit_raise(weights, message):
    with pytest.raises(ValueError, match=message):
        weighted_loss(losses(a=1, b=2), weights)


@pytest.mark.parametrize(
    "wrong", [{}, {"a": torch.ones(2)}, {"a": torch.ones(1)}, {"a": 1.0}, torch.ones(2)]
)
def test_what_is_not_a_mapping_of_scalars_raises(wrong):
    with pytest.raises(ValueError, match="scalar"):
        weighted_loss(wrong)


# --- tuned weights ------------------------------------------------------------------


def test_tuning_keeps_the_best_candidate_and_begins_with_what_it_is_given():
    tried = []

    def score(weights):
        tried.append(weights)
        return -abs(math.log(weights["a"] / 3)) - abs(math.log(weights["b"] / 0.5))

    best = tune_weights(score, {"a": 1.0, "b": 2.0}, generator=seeded(0), candidates=30)
    assert tried[0] == {"a": 1.0, "b": 2.0} and len(tried) == 30
    assert score(best) == max(map(score, tried[:30])) > score(tried[0])
    assert all(0.2 <= w["a"] <= 5 and 0.4 <= w["b"] <= 10 for w in tried)


def test_unless_it_is_told_otherwise_tuning_tries_sixteen():
    tried = []
    tune_weights(lambda w: tried.append(w) or 0.0, {"a": 1.0}, generator=seeded(0))
    assert len(tried) == 16


def test_a_search_of_one_candidate_scores_the_given_weights_alone():
    tried = []
    best = tune_weights(
        lambda w: tried.append(w) or 0.0, {"a": 3.0}, generator=seeded(0), candidates=1
    )
    assert tried == [best] == [{"a": 3.0}]


def test_candidates_whose_score_is_not_finite_are_passed_over():
    scores = iter([math.nan, 1.0, math.inf, 2.0])
    tried = []
    options = {"generator": seeded(0), "candidates": 4}
    best = tune_weights(lambda w: tried.append(w) or next(scores), {"a": 1.0}, **options)
    assert best == tried[3]
    scores = iter([math.nan, -math.inf])
    with pytest.raises(ValueError, match="every candidate scored nan: expected finite numbers"):
        tune_weights(lambda w: next(scores), {"a": 1.0}, **options | {"candidates": 2})


def test_of_equally_good_weights_the_given_ones_stay():
    given = {"a": 1.0, "b": 2.0}
    assert tune_weights(lambda weights: 0.0, given, generator=seeded(0)) == given
    assert tune_weights(len, given, generator=seeded(0), spread=1.0) == given


@pytest.mark.parametrize(
    ("weights", "options"),
    [
        ({}, {}),
        ({"a": 0.0}, {}),
        ({"a": -1.0}, {}),
        ({"a": math.nan}, {}),
        ({"a": math.inf}, {}),
        ({"a": 1.0}, {"candidates": 0}),
        ({"a": 1.0}, {"spread": 0.5}),
        ({"a": 1.0}, {"spread": math.nan}),
    ],
)
def test_a_search_that_cannot_be_made_raises(weights, options):
    with pytest.raises(ValueError, match="weights"):
        tune_weights(len, weights, generator=seeded(0), **options)


# --- uncertainty --------------------------------------------------------------------


def test_with_fixed_losses_the_variances_settle_where_the_derivation_says():
    uncertainty = UncertaintyWeights({"r": "regression", "c": "classification"}).double()
    fixed = {"r": torch.tensor(9.0).double(), "c": torch.tensor(0.2).double()}
    optimizer = torch.optim.LBFGS(uncertainty.parameters(), max_iter=100, tolerance_grad=1e-10)

    def closure():
        optimizer.zero_grad()
        total = uncertainty(fixed)
        total.backward()
        return total

    optimizer.step(closure)
    variance = uncertainty.log_variance.detach().exp().tolist()
    assert variance == pytest.approx([9.0, 2 * 0.2], rel=1e-4)  # L, and 2L
    assert uncertainty.weights() == pytest.approx({"r": 1 / 18, "c": 1 / 0.4}, rel=1e-4)
    value = math.log(9) / 2 + 1 / 2 + math.log(0.4) / 2 + 1 / 2
    assert uncertainty(fixed).item() == pytest.approx(value)


def test_a_regression_is_a_gaussian_likelihood_up_to_a_constant():
    uncertainty = UncertaintyWeights({"r": "regression"})
    torch.nn.init.constant_(uncertainty.log_variance, 0.7)
    error = torch.tensor([0.5, -1.0, 2.0])
    gaussian = torch.distributions.Normal(0.0, math.exp(0.35))
    likelihood = -gaussian.log_prob(error).mean() - math.log(2 * math.pi) / 2
    torch.testing.assert_close(uncertainty({"r": error.square().mean()}), likelihood)


def test_at_first_a_classification_weighs_one_and_a_regression_one_half():
    uncertainty = UncertaintyWeights({"r": "regression", "c": "classification"})
    assert uncertainty.weights() == {"r": 0.5, "c": 1.0}
    assert uncertainty(losses(r=4, c=3)).item() == 5


def test_the_gradient_of_a_loss_is_its_weight():
    uncertainty = UncertaintyWeights({"r": "regression", "c": "classification"})
    torch.nn.init.constant_(uncertainty.log_variance, -1.2)
    two = losses(r=4, c=3)
    uncertainty(two).backward()
    gradients = {name: loss.grad.item() for name, loss in two.items()}
    assert gradients == pytest.approx(uncertainty.weights())


def test_a_task_that_is_left_out_has_its_variance_left_alone():
    uncertainty = UncertaintyWeights({"r": "regression", "c": "classification"})
    uncertainty(losses(c=3)).backward()
    assert uncertainty.log_variance.grad.tolist() == [0.0, pytest.approx(0.5 - 3)]


def test_a_loss_of_zero_is_finite():
    assert UncertaintyWeights({"c": "classification"})(losses(c=0)).item() == 0


@pytest.mark.parametrize("kinds", [{}, ["a"], "a", {"a": "segmentation"}, {"a": None}])
def test_unknown_kinds_raise(kinds):
    with pytest.raises(ValueError, match="'classification' or 'regression'"):
        UncertaintyWeights(kinds)


@pytest.mark.parametrize("wrong", [{}, {"a": torch.ones(1)}])
def test_uncertainty_takes_a_mapping_of_scalars(wrong):
    with pytest.raises(ValueError, match="scalar"):
        UncertaintyWeights({"a": "regression"})(wrong)


def test_a_loss_of_an_unknown_task_raises():
    with pytest.raises(ValueError, match=r"losses of unknown tasks \['b'\].*\['a'\]"):
        UncertaintyWeights({"a": "regression"})(losses(b=1))


# --- GradNorm -----------------------------------------------------------------------

THREE = {"a": 1.0, "b": 2.0, "c": 0.5}
ONES = dict.fromkeys(THREE, 1.0)
ONES_2 = {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize("lr", [0.001, 0.5, 10.0])
def test_gradnorm_keeps_the_sum_of_the_weights(lr):
    weights = THREE
    for step in range(20):
        norms = {"a": 1000.0, "b": 1.0 + step, "c": 0.0}
        weights = gradnorm_step(weights, norms, {"a": 0.1, "b": 3, "c": 1}, ONES, lr=lr)
        assert sum(weights.values()) == pytest.approx(3.5)
        assert min(weights.values()) > 0


def test_without_asymmetry_gradnorm_makes_the_weighted_gradients_equally_long():
    norms = {"a": 10.0, "b": 1.0, "c": 0.1}
    weights = ONES
    for _ in range(4000):
        weights = gradnorm_step(weights, norms, ONES, ONES, alpha=0.0, lr=0.003)
    lengths = [weights[n] * norms[n] for n in norms]
    assert max(lengths) / min(lengths) < 1.05
    assert sum(weights.values()) == pytest.approx(3)


def test_unless_it_is_told_otherwise_gradnorm_takes_the_asymmetry_and_the_step_of_the_paper():
    now = {"a": 0.9, "b": 0.1, "c": 0.1}
    usual = gradnorm_step(THREE, ONES, now, ONES, alpha=1.5, lr=0.025)
    assert gradnorm_step(THREE, ONES, now, ONES) == usual
    assert gradnorm_step(THREE, ONES, now, ONES, lr=0.05) != usual
    long, late = {"a": 1.45, "b": 0.55}, {"a": 1.2, "b": 0.8}  # 1.2**1.5 < 1.45 < 1.2**2.5
    usual, stronger = (gradnorm_step(ONES_2, long, late, ONES_2, **o) for o in ({}, {"alpha": 2.5}))
    assert usual["a"] < 1 < stronger["a"]
    w, one, losses = torch.tensor([1.0, 2.0]), torch.ones(2), torch.tensor([0.5, 1.0])
    # lengths 1 and 2 of mean 1.5, rates 2/3 and 4/3
    wanted = abs(1 - 1.5 * (2 / 3) ** 1.5) + abs(2 - 1.5 * (4 / 3) ** 1.5)
    assert gradnorm_loss(w, one, losses, one).item() == pytest.approx(wanted, rel=1e-5)


def test_a_step_of_gradnorm_is_one_down_the_slope_in_the_logarithm_of_the_weights():
    """By hand: lengths 2 and 1 in units of their mean, both to be 1; slopes 4/3 and -2/3."""
    after = gradnorm_step({"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 1.0}, ONES_2, ONES_2, lr=0.3)
    a, b = math.exp(-0.3 * 4 / 3), math.exp(0.3 * 2 / 3)
    assert after == pytest.approx({"a": 2 * a / (a + b), "b": 2 * b / (a + b)})


def test_a_task_that_lags_behind_gains_weight():
    after = gradnorm_step(ONES, ONES, {"a": 0.9, "b": 0.1, "c": 0.1}, ONES)
    assert after["a"] > 1 > max(after["b"], after["c"])


def test_the_more_asymmetry_the_more_a_task_that_lags_behind_gains():
    losses = {"a": 0.9, "b": 0.1, "c": 0.1}
    norms = {"a": 2.0, "b": 1.0, "c": 1.0}  # the longest gradient: it gains only by its lag
    little, much = (gradnorm_step(ONES, norms, losses, ONES, alpha=a)["a"] for a in (0.1, 3.0))
    assert little < 1 < much


def test_where_lengths_are_proportional_to_the_rates_gradnorm_is_at_rest():
    rates = torch.tensor([0.5, 1.0, 1.5])  # of mean 1
    weights, norms = torch.tensor([2.0, 1.0, 3.0]), torch.tensor([0.25, 1.0, 0.5])
    initial = torch.tensor([1.0, 10.0, 0.1])
    rest = gradnorm_loss(weights, norms, rates * initial, initial, alpha=1.0)
    assert rest.item() == pytest.approx(0, abs=1e-6)
    assert gradnorm_loss(weights, norms, initial, initial, alpha=1.0).item() == pytest.approx(1)


def test_the_target_of_gradnorm_is_constant_in_derivatives():
    weights = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    norms = torch.tensor([3.0, 1.0], dtype=torch.float64)
    now = torch.ones(2, dtype=torch.float64)
    gradnorm_loss(weights, norms, now, now, alpha=1.0).backward()
    assert weights.grad.tolist() == [3.0, -1.0]  # sign times the norm


def test_one_task_keeps_its_weight():
    assert gradnorm_step({"a": 1.0}, {"a": 7.0}, {"a": 0.3}, {"a": 2.0}) == pytest.approx({"a": 1})


def test_gradients_of_zero_leave_the_weights():
    none = dict.fromkeys(THREE, 0.0)
    assert gradnorm_step(THREE, none, ONES, ONES) == THREE
    assert gradnorm_step(THREE, ONES, none, ONES) == THREE


def test_a_task_without_a_loss_keeps_its_weight():
    after = gradnorm_step(THREE, {"a": 5.0, "b": 1.0}, {"a": 1.0, "b": 1.0}, ONES)
    assert after["c"] == THREE["c"] and after["a"] < THREE["a"]
    assert sum(after.values()) == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": {"a": 1.0}}, r"losses of unknown tasks \['b', 'c'\]"),
        ({"weights": THREE | {"a": 0.0}}, "expected numbers above 0"),
        ({"weights": THREE | {"a": -1.0}}, "weights"),
        ({"norms": {"a": 1.0}}, r"norms are of \['a'\]"),
        ({"initial_losses": ONES | {"b": 0.0}}, "expected numbers above 0"),
        ({"initial_losses": {"a": 1.0}}, "initial_losses"),
        ({"weights": THREE | {"a": math.inf}}, r"weights\['a'\] is inf"),
        ({"norms": ONES | {"b": -0.1}}, r"norms\['b'\] is -0.1: expected a finite number, 0 or"),
        ({"losses": ONES | {"c": math.nan}}, r"losses\['c'\] is nan: expected a finite number"),
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"lr": -0.1}, "lr is -0.1"),
    ],
)
def test_numbers_that_do_not_fit_gradnorm_raise(change, message):
    given = {"weights": THREE, "norms": ONES, "losses": ONES, "initial_losses": ONES} | change
    with pytest.raises(ValueError, match=message):
        gradnorm_step(**given)

"""How the comparisons search, choose and deal out their work, before they run for hours."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from recipes import RESULTS, load_recipe
from sklearn.linear_model import Ridge

from metalearn_lite.checkpoint import load_checkpoint
from metalearn_lite.models import mlp
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import SineTasks


@pytest.fixture(scope="module")
def comparison():
    return load_recipe("comparison")


@pytest.fixture(scope="module")
def regression():
    return load_recipe("regression")


@pytest.fixture(scope="module")
def implicit():
    return load_recipe("implicit")


def searches(recipe):
    starts = getattr(recipe, "STARTS", None) or recipe.LEARNERS
    return {name: start for name, start in starts.items() if start.rates}


@pytest.mark.parametrize("name", ["comparison", "regression"])
def test_every_start_tries_nine_settings_far_apart_and_eight_about_the_best(name):
    for start in searches(load_recipe(name)).values():
        coarse = start.far_apart()
        assert len({tuple(s.items()) for s in coarse}) == 9
        for best in coarse:
            fine = start.about(best)
            assert len({tuple(s.items()) for s in fine}) == 8 and best not in fine
            for rate in start.rates:  # also beyond a best at the edge
                values = [s[rate] for s in fine]
                assert min(values) == best[rate] / 2 and max(values) == best[rate] * 2
            assert all(s[choice] == best[choice] for s in fine for choice in start.choices)


def test_the_rows_are_those_of_the_protocol(comparison):
    assert {row.learner for row in comparison.ROWS.values()} == set(comparison.STARTS)
    assert set(comparison.FIVE) < set(comparison.ROWS)
    assert comparison.LONG == 8 * comparison.SHORT
    assert pytest.approx(comparison.SHORT * comparison.LONG, rel=0.02) == comparison.MIDDLE**2
    for row in comparison.ROWS.values():
        assert len(comparison.settings_of(row)) <= 9


def test_of_settings_that_are_close_the_fewest_steps_are_taken(comparison):
    tried = [
        {"settings": {"steps": 60, "lr": 0.1}, "right": 80.0},
        {"settings": {"steps": 5, "lr": 0.3}, "right": 79.2},
        {"settings": {"steps": 5, "lr": 0.1}, "right": 79.4},
        {"settings": {"steps": 1, "lr": 0.1}, "right": 78.9},
    ]
    assert comparison.cheapest(tried) == {"steps": 5, "lr": 0.1}
    assert comparison.best_of(tried) == {"steps": 60, "lr": 0.1}


def test_an_adaptation_gets_the_rate_that_its_start_was_trained_for(comparison):
    start = {"inner_lr": 0.2, "meta_lr": 0.01}
    complete = comparison.complete
    found = complete(comparison.ROWS["MAML, five steps"], {"inner_steps": 5}, start)
    assert found == {"inner_steps": 5, "inner_lr": 0.2}
    assert complete(comparison.ROWS["linear probe"], {"l2": 0.1}, {"lr": 0.01}) == {"l2": 0.1}


def test_five_rows_are_scored_at_three_lengths_with_five_seeds_the_others_at_one_with_three(
    comparison,
):
    runs = [p.split("/") for start in comparison.STARTS for p in comparison.pieces(start)]
    count = Counter((kind, start) for kind, start, *_ in runs)
    several = {comparison.ROWS[name].learner for name in comparison.FIVE}
    for start in comparison.STARTS:
        assert count["tune", start] == 2
        assert count["run", start] == (2 * 3 * 5 if start in several else 2 * 3)
        assert count["check", start] == (2 if start != "nothing" else 0)


def test_the_family_fits_its_waves_exactly_and_a_process_fits_what_is_smooth(regression):
    task = SineTasks(10, 50).sample(seeded(3))
    in_the_family = regression.in_the_family(None, task)
    torch.testing.assert_close(in_the_family, task.query_y, atol=1e-4, rtol=0)
    smooth = regression.gaussian_process(None, SineTasks(20, 50).sample(seeded(3)))
    error = (smooth - SineTasks(20, 50).sample(seeded(3)).query_y).square().mean()
    assert smooth.shape == (50, 1) and error < 0.05


def test_ridge_on_features_is_that_of_scikit_learn(regression):
    learner = regression.RidgeFeatures(mlp(generator=seeded(0))).double()
    task = SineTasks(10, 50, dtype=torch.float64).sample(seeded(1))
    with torch.no_grad():
        learner.log_penalty.fill_(-1.0)
        z, queries = (learner._extended(x) for x in (task.support_x, task.query_x))
        found = learner.answer(task)
    ridge = Ridge(alpha=torch.tensor(-1.0).exp().item(), fit_intercept=False)
    expected = ridge.fit(z.numpy(), task.support_y.numpy()).predict(queries.numpy())
    torch.testing.assert_close(
        found[:, 0], torch.from_numpy(expected).flatten(), rtol=1e-4, atol=1e-6
    )


def test_processes_side_by_side_make_each_piece_once_and_a_second_run_none(
    comparison, tmp_path, monkeypatch
):
    made, ledger = [], tmp_path / "ledger.json"

    def make(piece, so_far, folder):
        assert folder == tmp_path / "ledger" and folder.is_dir()
        assert all(other in so_far["draws"] for other in made if other[0] == piece[0])
        made.append(piece)
        return {"number": len(made)}

    def pieces(name):
        yield from (f"{name}/{number}" for number in range(2))

    for part in ("0/2", "1/2", "0/1"):
        monkeypatch.setattr("sys.argv", ["recipe", "--part", part, "--to", str(ledger)])
        comparison.fill_pieces("recipe.py", "", "abc", pieces, dict, make)
    assert made == ["a/0", "a/1", "c/0", "c/1", "b/0", "b/1"]
    assert set(json.loads(ledger.read_text())["draws"]) == set(made)


def test_rows_with_equally_many_gradients_differ_in_their_outer_steps(implicit, monkeypatch):
    steps = {}
    monkeypatch.setattr(
        implicit, "meta_train", lambda *a, iterations, **k: steps.update(n=iterations)
    )
    world, settings = implicit.WORLDS["waves"], {"meta_lr": 0.01}
    for row in implicit.ROWS.values():
        implicit.learn(world, row, settings, 1.0, 0)
        assert steps["n"] * row.gradients() == pytest.approx(world.gradients, rel=0.01)
    costs = {name: row.gradients() for name, row in implicit.ROWS.items()}
    assert costs["joint training"] == 1 and costs["first-order MAML, 20 steps"] == 21
    assert costs["MAML, 5 steps"] == 5 + 2 * 5 + 1
    assert costs["implicit MAML, 20 steps"] == 20 + 1 + 2 * 5 + 1


def test_all_rows_try_the_same_settings_within_their_ranges(implicit):
    for world in implicit.WORLDS.values():
        tried = implicit.trials(world)
        assert len(tried) == implicit.TRIALS and tried == implicit.trials(world)
        for name, (low, high) in world.ranges.items():
            values = sorted(s[name] for s in tried)
            assert low < values[0] and values[-1] < high
            assert values[-1] / values[0] > (high / low) ** 0.7  # spread over the range


def test_the_ledger_of_implicit_maml_is_whole_and_counts_the_best_setting(implicit):
    draws = json.loads((RESULTS / "implicit.json").read_text())["draws"]
    assert set(draws) == {piece for name in implicit.NAMES for piece in implicit.pieces(name)}
    for name, draw in draws.items():
        if name.startswith("tune/"):
            finite = [t for t in draw["tried"] if t["goodness"] is not None]
            best = max(finite, key=lambda t: t["goodness"])
            assert draw["settings"] == best["settings"] and len(draw["tried"]) == implicit.TRIALS
        if name.startswith("run/"):
            words = name.removeprefix("run/").replace(", ", "_").replace(" ", "_").replace("/", "_")
            scores = load_checkpoint(RESULTS / f"implicit/{words}.zip")["scores"]
            assert scores.mean().item() == pytest.approx(draw["mean"], abs=1e-5)


def test_a_row_learns_waves(implicit):
    world = implicit.WORLDS["waves"]
    row = implicit.Row(3, 3, cg=2)
    settings = {"inner_lr": 0.02, "meta_lr": 0.01, "penalty": 8.0}
    scores = [
        implicit.judge(replace(world, gradients=count, validation=50), row, settings)
        for count in (36, 3_600)
    ]
    assert scores[1] > scores[0] + 0.5

"""How the comparisons search, choose and deal out their work, before they run for hours."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from recipes import RESULTS, load_recipe
from sklearn.linear_model import Ridge

from metalearn_lite.checkpoint import load_checkpoint
from metalearn_lite.in_context import bayes_predict, in_context_predict
from metalearn_lite.maml import maml_predict
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


@pytest.fixture(scope="module")
def learned():
    return load_recipe("learned_settings")


@pytest.fixture(scope="module")
def texts():
    return load_recipe("few_shot_text")


@pytest.fixture(scope="module")
def reading():
    return load_recipe("in_context")


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


# Learned settings


def valley(recipe, **changes):
    """One weight that should be 4, drawn to 0 by a penalty; at log 3 the validation loss is 0."""
    problem = recipe.Problem(
        settings={"s": torch.zeros(1).double()},
        spread=3.0,
        weights={"w": torch.zeros(1).double()},
        train=lambda w, s: ((w["w"] - 4) ** 2 + s["s"].exp() * w["w"] ** 2).sum() / 2,
        validate=lambda w, s: (w["w"] - 1).square().sum() / 2,
        test=lambda w: {"loss": w["w"].item()},
    )
    return replace(problem, **changes)


def by_steps(recipe):
    return valley(recipe, rates=lambda s: 0.2, steps=20, weights={"w": torch.ones(1).double()})


@pytest.mark.parametrize("way", ["grid", "random", "hypergradient"])
@pytest.mark.parametrize("kind", [valley, by_steps])
def test_a_way_begins_at_the_default_spends_its_budget_and_no_more(learned, way, kind):
    problem = kind(learned)
    met = learned.search(problem, way, 400, 0.3, 0)
    costs = [after[0] - before[0] for before, after in pairwise(met)]
    assert met[0][1]["s"].item() == 0 and met[-1][0] <= 400 < met[-1][0] + 2 * max(costs)
    assert all(abs(settings["s"].item()) <= 3 + 1e-9 for _, settings, _ in met)
    best = learned.chosen(met, 400)
    assert best["s"].item() == pytest.approx(torch.tensor(3.0).log().item(), abs=0.4)


def test_going_back_over_a_step_counts_as_two_gradients(learned):
    problem = by_steps(learned)
    spent = {w: learned.search(problem, w, 400, 0.3, 0)[0][0] for w in learned.WAYS}
    assert spent == {"grid": 20 + 1, "random": 20 + 1, "hypergradient": 3 * 20 + 1}


def test_every_look_at_the_loss_of_a_probe_counts(learned):
    looks = []
    plain = valley(learned)

    def train(w, s):
        looks.append(1)
        return plain.train(w, s)

    meter = learned.Meter(1000)
    learned.fit(replace(plain, train=train), plain.settings, plain.weights, meter)
    assert meter.spent == len(looks) > 1


def test_where_the_numbers_run_away_the_search_goes_on(learned):
    problem = replace(by_steps(learned), rates=lambda s: s["s"].exp() * 30)
    for way in learned.WAYS:
        losses = [loss for _, _, loss in learned.search(problem, way, 400, 0.3, 0)]
        assert len(losses) > 1


def test_a_quarter_of_the_budget_chooses_among_what_was_met_by_then(learned):
    met = [(10, "a", 3.0), (20, "b", 2.0), (40, "c", 1.0)]
    assert [learned.chosen(met, most) for most in (5, 10, 25, 40)] == ["a", "a", "b", "c"]


def test_forty_labels_are_wrong_and_no_other(learned):
    right = torch.arange(10).repeat_interleave(10)
    for draw in (0, 1):
        wrong = learned.is_wrong(draw)
        (_, y), (_, vy), (_, ty) = learned.wrong_labels(draw)
        assert wrong.sum() == learned.WRONG and torch.equal(y != right, wrong)
        assert vy.bincount().tolist() == [2] * 10 and ty.bincount().tolist() == [8] * 10


def test_every_training_on_many_tasks_sees_the_same_minibatches(learned):
    problem = learned.tasks(0)
    short = replace(problem, steps=2)
    losses = [learned.judged(short, problem.settings, learned.Meter(1000)) for _ in range(2)]
    assert losses[0] == losses[1]


def test_the_ledger_of_learned_settings_is_whole_and_its_costs_are_equal(learned):
    draws = json.loads((RESULTS / "learned_settings.json").read_text())["draws"]
    assert set(draws) == set(learned.pieces(range(1, 21), learned.PROBLEMS))
    for piece, draw in draws.items():
        kind = piece.split("/")[0]
        if kind == "tune":
            assert draw["lr"] == float(min(draw["tried"], key=draw["tried"].get))
            continue
        for way in learned.NAMES[kind]:
            losses = [loss for loss in draw[way]["losses"] if loss is not None]
            assert draw[way]["validation"] == pytest.approx(min(losses), rel=0.02, abs=2e-3)
            assert 0.75 * learned.BUDGETS[kind] < draw[way]["spent"][-1] <= learned.BUDGETS[kind]


def test_a_draw_is_measured_whole(learned, monkeypatch):
    monkeypatch.setitem(learned.BUDGETS, "penalty", 300)
    draw = learned.measure_draw("penalty", 1, 0.3)
    assert {"default", "grid", "random", "hypergradient", "path"} == set(draw)
    assert len(draw["path"]) == len(draw["hypergradient"]["spent"]) > 1
    stored = json.loads((RESULTS / "learned_settings.json").read_text())["draws"]["penalty/1"]
    assert draw["default"]["loss"] == pytest.approx(stored["default"]["loss"], abs=1e-3)


# In-context learning


def test_the_ledger_of_in_context_learning_is_whole_and_takes_the_best_setting(reading):
    draws = json.loads((RESULTS / "in_context.json").read_text())["draws"]
    assert set(draws) == {piece for name in reading.NAMES for piece in reading.pieces(name)}
    for name, draw in draws.items():
        kind, family, *rest = name.split("/")
        if kind == "tune":
            assert len(draw["tried"]) == reading.TRIALS
            assert draw["settings"] == min(draw["tried"], key=lambda t: t["error"])["settings"]
        if kind == "run":
            file = f"{reading.file_name(family, rest[0])}_{rest[1]}.zip"
            errors = load_checkpoint(RESULTS / "in_context" / file)["errors"]
            for condition, mean in draw["errors"].items():
                assert errors[condition].shape == (reading.EPISODES,)
                assert errors[condition].double().mean().item() == pytest.approx(mean, abs=1e-4)


def first_errors(reading, predict, tasks):
    episode = next(reading.drawn(tasks, reading.TOGETHER, 2))
    return reading.wrong(predict(None, episode), episode.query_y).float()


def test_stored_networks_and_formulas_still_have_their_stored_errors(reading):
    tasks = reading.kinds_of("linear 4")["8"]
    closed = load_checkpoint(RESULTS / "in_context/linear_4_closed.zip")["errors"]
    best = first_errors(reading, lambda _, e: bayes_predict(None, e, noise=0.5), tasks)
    torch.testing.assert_close(best, closed["best possible/8"][: len(best)], rtol=1e-3, atol=1e-5)
    for file, family, kind in (
        ("linear_4_in_context_0", "linear 4", "8"),
        ("waves_in_context_1", "waves", "10"),
    ):
        stored = load_checkpoint(RESULTS / f"in_context/{file}.zip")
        model = reading.rows_of(family)["in context"].build(seeded(0))
        model.load_state_dict(stored["weights"])
        tasks = reading.kinds_of(family)[kind]
        found = first_errors(reading, lambda _, e, m=model: in_context_predict(m, e), tasks)
        torch.testing.assert_close(found, stored["errors"][kind][:50], rtol=1e-2, atol=1e-4)


def test_tasks_adapted_side_by_side_are_adapted_as_by_the_package(reading):
    model, episode = mlp(generator=seeded(0)), SineTasks(5, 7).sample(seeded(1), 3)
    for steps, found in zip(
        (0, 1, 5), reading.after_steps(model, episode, 0.02, (0, 1, 5)), strict=True
    ):
        expected = model(episode.query_x)
        if steps:
            expected = maml_predict(model, episode, inner_lr=0.02, inner_steps=steps)
        torch.testing.assert_close(found, expected)


def test_the_number_of_examples_is_drawn_for_each_batch(reading):
    tasks = reading.AnyNumber(lambda n: SineTasks(n, 2), 4)
    generator = seeded(0)
    sizes = Counter(tasks.sample(generator, 2).support_x.shape[1] for _ in range(200))
    assert sorted(sizes) == [1, 2, 3, 4] and min(sizes.values()) > 25


def test_a_reader_learns_waves(reading):
    row = reading.rows_of("waves")["in context"]
    tasks = reading.kinds_of("waves")["10"]
    settings = {"lr": 0.003}
    errors = []
    for share in (0.005, 0.08):
        model, _ = reading.train("waves", "in context", settings, 0, share)
        errors.append(reading.best_steps(row, model, settings, tasks)[1])
    assert errors[1] < 0.8 * errors[0]


# Texts


def test_the_ledger_of_few_shot_text_is_whole_and_counts_every_episode(texts):
    draws = json.loads((RESULTS / "few_shot_text.json").read_text())["draws"]
    assert set(draws) == set(texts.pieces(texts.SEEDS, [*texts.METHODS, *texts.CONTROLS]))
    for piece, draw in draws.items():
        name = piece.split("/")[0]
        if name == "tune":
            best = draw["tried"].index(max(draw["tried"]))
            chosen = texts.METHODS[piece.split("/")[1]].settings[best]
            assert len(draw["tried"]) == 4 and chosen.items() <= draw["setting"].items()
            continue
        episodes = texts.METHODS[name].episodes if name in texts.METHODS else texts.EPISODES
        for counts in draw.values() if name == "leaked idf" else [draw]:
            for shots in texts.SHOTS:
                right = [int(n) for n in counts[str(shots)].split()]
                assert len(right) == episodes and 0 <= min(right) <= max(right) <= 50


def test_no_name_of_a_task_on_texts_is_there_twice_and_its_rows_are_those_of_its_labels(texts):
    validation = texts.data()[1]
    names, labels = validation.flatten()
    assert max(map(len, names)) <= texts.LONGEST
    for support, query in texts.draw(validation, 5, 20):
        both = torch.cat([support, query])
        assert len(set(both.tolist())) == len(both) == 75
        for rows, each in ((support, 5), (query, texts.QUERIES)):
            own = labels[rows].reshape(texts.WAYS, each)
            assert (own == own[:, :1]).all() and len(set(own[:, 0].tolist())) == texts.WAYS


def test_counting_n_grams_anew_gives_the_stored_answers(texts):
    draws = json.loads((RESULTS / "few_shot_text.json").read_text())["draws"]
    test, settings = texts.data()[2], draws["tune/centroid"]["setting"]
    anew = texts.right_answers(texts.centroid(test, 0, settings), test, 40)
    for shots, found in anew.items():
        right = draws["centroid/0"][shots].split()[:40]
        for a, b in zip(found.split(), right, strict=True):
            assert abs(int(a) - int(b)) <= 1  # but for a query that is a draw


def test_a_network_for_texts_learns_from_few_names_seen(texts):
    """A short training is far from the stored one, and from guessing."""
    test = texts.data()[2]
    model = texts.meta_trained(texts.prototype_loss, 0, 4000)
    found = texts.right_answers(texts.nearest(model, test), test, 30)
    draws = json.loads((RESULTS / "few_shot_text.json").read_text())["draws"]
    stored = {shots: counts.split()[:30] for shots, counts in draws["prototypes/0"].items()}
    stored = {shots: " ".join(counts) for shots, counts in stored.items()}
    assert 30 < texts.accuracy(found) < texts.accuracy(stored)

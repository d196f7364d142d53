"""The ledgers of long runs: whole, and reproduced where that is quick."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from recipes import RESULTS, load_recipe

from metalearn_lite.checkpoint import load_checkpoint
from metalearn_lite.datasets import glyphs, omniglot
from metalearn_lite.evaluation import evaluate
from metalearn_lite.judging import LEARNERS, METHODS, learner_from, read_ledger
from metalearn_lite.maml import maml_predict
from metalearn_lite.models import conv4
from metalearn_lite.models.photographs import efficientnet_lite0
from metalearn_lite.multitask import factor_tasks
from metalearn_lite.prototypes import prototype_logits, prototype_predict, prototypes, ridge_head
from metalearn_lite.tasks import ImageTasks


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("multi_task")


@pytest.fixture(scope="module")
def glyph_recipe():
    return load_recipe("maml_glyphs")


@pytest.fixture(scope="module")
def prototype_recipe():
    return load_recipe("prototypes_glyphs")


@pytest.fixture(scope="module")
def reptile_recipe():
    return load_recipe("reptile_glyphs")


@pytest.fixture(scope="module")
def comparison_recipe():
    return load_recipe("fair_comparison")


@pytest.fixture(scope="module")
def omniglot_recipe():
    return load_recipe("omniglot_maml")


@pytest.fixture(scope="module")
def photograph_recipe():
    return load_recipe("photographs")


@pytest.fixture(scope="module")
def train(recipe):
    return recipe.glyphs().split_groups()[0]


def shape(entry):
    """Return the names in a result, without its numbers."""
    if isinstance(entry, dict):
        return {name: shape(part) for name, part in entry.items()}
    return len(entry) if isinstance(entry, list) else type(entry).__name__


@pytest.mark.parametrize(
    "name", ["multi_task", "maml_glyphs", "prototypes_glyphs", "reptile_glyphs", "fair_comparison"]
)
def test_the_ledger_says_how_it_was_made(name):
    about = read_ledger(RESULTS / f"{name}.json").about
    assert about["command"] == f"python results/{name}.py"
    assert {"python", "torch", "metalearn_lite"} <= set(about["versions"])


def thinned(tasks):
    """Keep every tenth image of each part."""
    parts = {name: getattr(tasks, name) for name in ("train", "validation", "test")}
    rest = {k: (x[::10], {n: v[::10] for n, v in y.items()}) for k, (x, y) in parts.items()}
    return replace(tasks, **rest)


def test_the_recipe_makes_what_is_in_every_draw_of_the_ledger(recipe, monkeypatch):
    ledger = json.loads((RESULTS / "multi_task.json").read_text())
    assert list(ledger["draws"]) == [str(i) for i in range(10)]
    monkeypatch.setattr(recipe, "STEPS", 20)  # the same names from a run that is quick
    monkeypatch.setattr(recipe, "factor_tasks", lambda *a, **k: thinned(factor_tasks(*a, **k)))
    made = recipe.draw_results(0, ledger["tuned weights"])
    for draw in ledger["draws"].values():
        assert shape(draw) == shape(made)


def test_a_draw_of_the_ledger_is_reproduced(recipe, train):
    ledger = read_ledger(RESULTS / "multi_task.json")
    for draw in (0, 7):
        tasks = factor_tasks(train, generator=torch.Generator().manual_seed(draw))
        _, scores = recipe.run(tasks, draw)
        mean = sum(scores.values()) / len(scores)
        assert mean == pytest.approx(ledger.scores("shared").values[draw].item(), abs=0.02)


def test_the_recipe_for_glyphs_makes_what_is_in_every_draw(glyph_recipe, monkeypatch):
    draws = json.loads((RESULTS / "maml_glyphs.json").read_text())["draws"]
    assert list(draws) == [str(i) for i in glyph_recipe.DRAWS]
    quick = {"SHORT": 2, "LONG": {1: 2, 5: 2}, "PRETRAINING": 2, "EPISODES": 2}
    for name, value in quick.items():
        monkeypatch.setattr(glyph_recipe, name, value)
    made = glyph_recipe.draw_results(0)
    for draw in draws.values():
        assert shape(draw) == shape(made)


@pytest.mark.parametrize(
    ("weights", "path"), [("MAML_5_shot", "5/MAML"), ("ANIL_1_shot", "1/ANIL")]
)
def test_the_weights_of_the_first_draw_score_what_its_ledger_says(glyph_recipe, weights, path):
    test = glyphs().split_groups()[2]
    model = conv4(5, width=glyph_recipe.WIDTH)
    model.load_state_dict(load_checkpoint(RESULTS / "maml_glyphs" / f"{weights}.zip"))
    options = {"shots": int(path[0]), "inner_steps": 1, "head_only": "ANIL" in path}
    expected = read_ledger(RESULTS / "maml_glyphs.json").scores(f"{path}/steps/1").values[0].item()
    assert glyph_recipe.score(model, test, **options) == pytest.approx(expected, abs=0.003)


def test_the_recipe_for_prototypes_makes_what_is_in_every_draw(prototype_recipe, monkeypatch):
    draws = json.loads((RESULTS / "prototypes_glyphs.json").read_text())["draws"]
    assert list(draws) == [str(i) for i in prototype_recipe.DRAWS]
    for name, value in {"ITERATIONS": {1: 2, 5: 2}, "EPISODES": 2}.items():
        monkeypatch.setattr(prototype_recipe, name, value)
    made = prototype_recipe.draw_results(0)
    for draw in draws.values():
        assert shape(draw) == shape(made)


def test_the_draws_of_ways_begin_with_those_of_the_ledger_of_all(prototype_recipe):
    everything, ways = (
        json.loads((RESULTS / f"prototypes_{name}.json").read_text())["draws"]
        for name in ("glyphs", "ways")
    )
    assert list(ways) == [str(i) for i in prototype_recipe.WAYS_DRAWS]
    for draw, numbers in ways.items():
        assert shape(numbers) == shape(ways["0"])
        if draw in everything:
            assert numbers == prototype_recipe.ways_results(int(draw), everything)


def test_the_recipe_for_reptile_makes_what_is_in_every_draw(reptile_recipe, monkeypatch):
    draws = json.loads((RESULTS / "reptile_glyphs.json").read_text())["draws"]
    assert list(draws) == [str(i) for i in reptile_recipe.DRAWS]
    for name, value in {"SHORT": 1, "LONG": {1: 1, 5: 1}, "EPISODES": 2, "STEPS": (1, 5)}.items():
        monkeypatch.setattr(reptile_recipe, name, value)
    made = reptile_recipe.draw_results(0)
    for draw in draws.values():
        for shots in ("1", "5"):
            draw[shots]["steps"] = {k: draw[shots]["steps"][k] for k in ("1", "5")}
        assert shape(draw) == shape(made)


@pytest.mark.parametrize(
    ("weights", "path", "changes"),
    [
        ("Reptile_1_shot", "1/steps/5", {}),
        ("Reptile_5_shot", "5/steps/10", {}),
        ("all_images_in_each_step", "short/all images in each step", {"minibatch": None}),
    ],
)
def test_the_weights_of_reptile_score_what_their_ledger_says(
    reptile_recipe, weights, path, changes
):
    test = glyphs().split_groups()[2]
    model = conv4(5, width=reptile_recipe.WIDTH)
    model.load_state_dict(load_checkpoint(RESULTS / f"reptile_glyphs/{weights}.zip"))
    settings = {k: v for k, v in reptile_recipe.BASE.items() if k in ("inner_lr", "minibatch")}
    shots = 5 if path.startswith("5") else 1
    found = reptile_recipe.score(model, settings | changes, test, shots=shots)
    expected = read_ledger(RESULTS / "reptile_glyphs.json").entries(path)[0]
    assert found == pytest.approx(expected, abs=0.003)


def test_prototypes_reptile_and_maml_are_scored_on_the_same_episodes(
    prototype_recipe, glyph_recipe, reptile_recipe, monkeypatch
):
    seen, test, model = [], glyphs().split_groups()[2], conv4(5, width=8)

    def record(*args, **options):
        seen.append(evaluate(*args, **options))
        return seen[-1]

    for recipe in (prototype_recipe, glyph_recipe, reptile_recipe):
        monkeypatch.setattr(recipe, "evaluate", record)
        monkeypatch.setattr(recipe, "EPISODES", 2)
    for shots in (1, 5):
        prototype_recipe.score(model, prototype_predict, test, shots)
        glyph_recipe.score(model, test, shots=shots, inner_steps=0)
        settings = {"inner_lr": 0.4, "minibatch": None}
        reptile_recipe.score(model, settings, test, shots=shots, inner_steps=0)
        assert seen[-1].digest == seen[-2].digest == seen[-3].digest != ""


def test_the_weights_of_prototypes_score_what_their_ledger_says(prototype_recipe):
    test = glyphs().split_groups()[2]
    model = conv4(5, width=prototype_recipe.WIDTH)
    model.load_state_dict(load_checkpoint(RESULTS / "prototypes_glyphs/prototypes_20_ways.zip"))
    ledger = read_ledger(RESULTS / "prototypes_glyphs.json")
    for shots in (1, 5):
        expected = ledger.entries(f"prototypes/20 ways/{shots}")[0]
        found = prototype_recipe.score(model, prototype_predict, test, shots)
        assert found == pytest.approx(expected, abs=0.003)


QUICK = {"IMAGES": 256, "SMALL": 256, "TUNING": 256, "EPISODES": 2, "FEWER": 1, "TIMED_EPISODES": 1}


def test_the_recipe_for_the_comparison_makes_what_is_in_every_draw(
    comparison_recipe, monkeypatch, tmp_path
):
    ledger, timed = (
        json.loads((RESULTS / f"fair_comparison{kind}.json").read_text()) for kind in ("", "_time")
    )
    assert list(ledger["draws"]) == [str(i) for i in comparison_recipe.DRAWS]
    for name, value in QUICK.items():
        monkeypatch.setattr(comparison_recipe, name, value)
    seconds = dict.fromkeys(LEARNERS, 1.0)
    made_timed = comparison_recipe.equal_time(0, ledger["tuning"], seconds)
    made = comparison_recipe.draw_results(0, ledger["tuning"], tmp_path)
    for draw, stored in ledger["draws"].items():
        for shots in ("1", "5"):  # real handwriting is not always at hand
            for scores in (*stored[shots]["scores"].values(), *made[shots]["scores"].values()):
                scores.pop("handwriting", None)
        assert shape(stored) == shape(made)
        assert shape(timed["draws"][draw]) == shape(made_timed)


def test_tuning_keeps_the_best_by_validation_and_tries_no_more_than_four(
    comparison_recipe, monkeypatch
):
    ledger = json.loads((RESULTS / "fair_comparison.json").read_text())
    for tuning in ledger["tuning"].values():
        for name, tried in tuning["tried"].items():
            assert len(tried) in (1, 4)
            part = "starts" if name.startswith("start ") else "methods"
            best = max(tried, key=lambda entry: sum(entry["validation"]))
            assert tuning[part][name.removeprefix("start ")] == best["settings"]
        assert set(tuning["starts"]) == set(LEARNERS) and set(tuning["methods"]) == set(METHODS)


@pytest.mark.parametrize("name", ["MAML", "ridge", "LP-FT", "Meta-SGD"])
def test_the_weights_of_the_comparison_answer_as_stored(comparison_recipe, name):
    ledger = read_ledger(RESULTS / "fair_comparison.json")
    start = METHODS[name].learner.replace(" ", "_")
    learner = learner_from(load_checkpoint(RESULTS / f"fair_comparison/{start}.zip"))
    settings = ledger.about["tuning"]["1"]["methods"][name]
    tasks = ImageTasks(glyphs().split_groups()[2], 5, 1, 15)
    found = comparison_recipe.score(METHODS[name], learner, tasks, settings, 20)
    stored = load_checkpoint(RESULTS / "fair_comparison/answers_0.zip")[f"1/glyphs/{name}"]
    assert found.sum(dim=1).tolist() == pytest.approx(stored[:, :20].sum(dim=1).tolist(), abs=5)


def test_the_answers_add_up_to_the_scores_of_the_ledger():
    for draw, numbers in enumerate(read_ledger(RESULTS / "fair_comparison.json").draws):
        right = load_checkpoint(RESULTS / f"fair_comparison/answers_{draw}.zip")
        for shots in ("1", "5"):
            for name, domains in numbers[shots]["scores"].items():
                for domain, scores in domains.items():
                    means = right[f"{shots}/{domain}/{name}"].double().mean(dim=1) / 75
                    assert means.tolist() == pytest.approx([*scores.values()], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "passes"),
    [
        ("MAML", {"inner_steps": 3, "inner_lr": 0.1}, (3, 3)),
        ("ANIL", {"inner_steps": 3, "inner_lr": 0.1}, (3, 0)),
        ("prototypes", {}, (1, 0)),
        ("nearest pixel", {}, (0, 0)),
    ],
)
def test_the_passes_of_an_adaptation_are_counted(
    comparison_recipe, generator, name, settings, passes
):
    train, _, test = glyphs().split_groups()
    learner = LEARNERS["nothing"].learn(train, shots=1, images=0, seed=0)
    task = ImageTasks(test, 5, 1, 1).sample(generator)
    found = comparison_recipe.cost(METHODS[name], learner, task, settings)
    assert (found["forward"], found["backward"]) == passes


def test_the_page_on_handwriting_is_what_the_recipe_writes(omniglot_recipe):
    runs = json.loads((RESULTS / "omniglot_maml.json").read_text())["runs"]
    assert set(runs) == set(omniglot_recipe.RUNS)
    assert (RESULTS / "omniglot_maml.md").read_text() == omniglot_recipe.page(runs)
    for name, run in runs.items():
        assert omniglot_recipe.Run(**run["settings"]) == omniglot_recipe.RUNS[name]
        weights = omniglot_recipe.weights_of(name)
        assert hashlib.sha256(weights.read_bytes()).hexdigest() == run["sha256"]


def test_the_weights_score_on_handwriting_what_the_page_says(omniglot_root):
    held_out = omniglot(omniglot_root).split_groups()[1]
    run = json.loads((RESULTS / "omniglot_maml.json").read_text())["runs"]["5-way 1-shot"]
    model = conv4(5)
    model.load_state_dict(load_checkpoint(RESULTS / "omniglot_maml" / "5-way_1-shot.zip"))

    def predict(model, episode):
        return maml_predict(model, episode, inner_lr=0.4, inner_steps=1)

    tasks = ImageTasks(held_out, ways=5, shots=1, queries=15)
    generator = torch.Generator().manual_seed(7)  # other episodes than those of the page
    found = evaluate(model, predict, tasks, episodes=100, generator=generator)
    expected = run["scores"]["15 queries, queries, 1 steps"]["percent"] / 100
    assert abs(found.mean - expected) < 2 * found.half_width


# Photographs


def photographs():
    return json.loads((RESULTS / "photographs.json").read_text(encoding="utf-8"))["draws"]


def test_layers_are_scored_on_the_episodes_of_the_comparison(photograph_recipe):
    test = glyphs().split_groups()[2]
    drawn = photograph_recipe.Drawn.of(test, 1)
    found = photograph_recipe.nearest_mean(test.images.flatten(0, 1).flatten(1), drawn)
    stored = load_checkpoint(RESULTS / "fair_comparison/answers_0.zip")["1/glyphs/nearest pixel"]
    assert (found - stored[1].int()).abs().max() <= 1  # a tie


@pytest.mark.parametrize("shots", [1, 5])
def test_numbers_of_pictures_are_scored_as_the_package_scores_pictures(
    photograph_recipe, monkeypatch, shots
):
    monkeypatch.setattr(photograph_recipe, "EPISODES", 30)
    test = glyphs().split_groups()[2]
    tasks = ImageTasks(test.images.flatten(2), 5, shots, 15)

    def means(_, task):
        return prototype_logits(task.query_x, prototypes(task.support_x, task.support_y))

    def ridge(_, task):
        head = ridge_head(task.support_x, task.support_y, penalty=0.1)
        return torch.nn.functional.linear(task.query_x, *head)

    rows, drawn = test.images.flatten(0, 1).flatten(1), photograph_recipe.Drawn.of(test, shots)
    for predict, right in (
        (means, photograph_recipe.nearest_mean(rows, drawn)),
        (ridge, photograph_recipe.ridge(rows, drawn, 0.1)),
    ):
        expected = evaluate(
            None, predict, tasks, episodes=30, generator=photograph_recipe.seeded(2)
        )
        assert (right / 75 - expected.values).abs().max() < 0.02  # a tie


def test_each_layer_is_that_of_the_network(photograph_recipe):
    network, images = efficientnet_lite0(), glyphs().images[:2, :9].flatten(0, 1)
    rows = photograph_recipe.photograph_rows(network, images, 64)
    assert len(rows) == 36
    for name in ("64/1/17", "64/3/9"):
        _, pool, layer = map(int, name.split("/"))
        z = network.up_to(layer, pool=pool, side=64)(images).detach()
        torch.testing.assert_close(rows[name], z / z.norm(dim=1, keepdim=True))


def test_layers_are_chosen_on_validation_classes_alone(photograph_recipe):
    ledger = photographs()
    assert set(ledger) == {*photograph_recipe.VALIDATION, *photograph_recipe.TEST}
    for name in photograph_recipe.VALIDATION:
        for side, chosen in ledger[name]["chosen"].items():
            assert chosen == photograph_recipe.best(ledger[name]["layers"], int(side))
    for name, (_, validation) in photograph_recipe.TEST.items():
        assert ledger[name]["chosen on"] == validation and validation != name
        for side, chosen in ledger[validation]["chosen"].items():
            scores = ledger[name]["scores"][f"chosen layer, {side}"]
            for shots, mean in ledger[name]["layers"][chosen].items():
                assert scores[shots][0] == mean
    tried = ledger["glyphs, validation"]["ridge"]
    assert tried["penalty"] == max(map(float, tried["tried"]), key=lambda p: sum(
        tried["tried"][str(p)].values()
    ))  # fmt: skip


def test_the_answers_on_photographs_add_up_to_the_scores_of_the_ledger(photograph_recipe):
    for name in photograph_recipe.TEST:
        right = load_checkpoint(RESULTS / f"photographs/{name.replace(' ', '_')}.zip")
        for row, by_shots in photographs()[name]["scores"].items():
            for shots, (mean, half_width) in by_shots.items():
                questions = 35 if name == "printed letters" else 75
                assert right[f"{shots}/{row}"].double().mean() / questions == pytest.approx(
                    mean, abs=1e-5
                )
                assert half_width < 0.01

import pytest
import torch
from torch import nn

from metalearn_lite.datasets import ClassImages, glyphs
from metalearn_lite.multitask import (
    FACTORS,
    MISSING,
    MultiTask,
    factor_moments,
    factor_targets,
    factor_tasks,
    skill,
)


@pytest.fixture
def images(generator):
    factors = {
        "kind": torch.arange(10)[:, None].repeat(1, 4) % 3,
        "angle": 10 * torch.randn(10, 4, generator=generator) + 5,
    }
    pictures = torch.rand(10, 4, 1, 28, 28, generator=generator)
    names = tuple("abcdefghij")
    return ClassImages(pictures, names, names, {}, factors, {"kind": ("x", "y", "z")})


def test_targets_follow_the_order_of_the_flattened_images(images):
    targets = factor_targets(images, ["angle", "kind"])
    assert torch.equal(targets["kind"], images.factors["kind"].flatten())
    assert torch.equal(targets["angle"], images.factors["angle"].reshape(40, 1))
    assert targets["kind"].dtype == torch.int64 and targets["angle"].dtype == torch.float32


def test_moments_standardise_the_numeric_factors_alone(images):
    moments = factor_moments(images, ["kind", "angle"])
    assert list(moments) == ["angle"]
    angle = factor_targets(images, ["angle"], moments=moments)["angle"]
    assert angle.mean().item() == pytest.approx(0, abs=1e-6)
    assert angle.std(unbiased=False).item() == pytest.approx(1)


def test_no_character_is_in_two_parts_and_moments_are_those_of_the_training_part(images):
    tasks = factor_tasks(
        images, generator=torch.Generator().manual_seed(0), names=["angle"], validation=2, test=3
    )
    parts = [tasks.train[0], tasks.validation[0], tasks.test[0]]
    assert [len(part) for part in parts] == [20, 8, 12]
    whole = torch.cat(parts).flatten(1)
    assert len(whole.unique(dim=0)) == 40
    assert tasks.train[1]["angle"].mean().item() == pytest.approx(0, abs=1e-6)
    assert tasks.test[1]["angle"].mean().abs() > 1e-3
    assert tasks.outputs == {"angle": 1}


def test_the_factors_of_the_glyphs_make_four_classifications_and_two_regressions():
    train, _, _ = glyphs(examples=2).split_groups()
    tasks = factor_tasks(train, generator=torch.Generator().manual_seed(0))
    assert tuple(tasks.outputs) == FACTORS
    assert tasks.outputs == dict(script=15, family=3, weight=2, slant=2, rotation=1, scale=1)
    assert [len(p[0]) for p in (tasks.validation, tasks.test)] == [200, 576]  # twice 100 and 288
    assert all(h.in_features == 32 for h in tasks.network().heads.values())
    network = tasks.network(width=8, generator=torch.Generator().manual_seed(0))
    scores = skill(network, *tasks.test)
    assert tuple(scores) == FACTORS and all(-3 < s < 0.2 for s in scores.values())
    alone = tasks.network(["scale"], width=8, generator=torch.Generator().manual_seed(0))
    for p, q in zip(alone.trunk.parameters(), network.trunk.parameters(), strict=True):
        assert torch.equal(p, q)  # the same start for every choice of tasks


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda i, g: factor_targets(i, ["colour"]), r"got factor 'colour'.*\['angle', 'kind'\]"),
        (lambda i, g: factor_tasks(i, generator=g), "got 10 characters, 100 to validate"),
        (
            lambda i, g: factor_tasks(i, generator=g, names=["kind"], validation=1, test=1).network(
                ["size"]
            ),
            r"got tasks \['size'\]: expected some of \['kind'\]",
        ),
    ],
)
def test_what_does_not_fit_raises(images, generator, use, message):
    with pytest.raises(ValueError, match=message):
        use(images, generator)


def test_the_generator_alone_decides_who_is_in_which_part(images):
    options, splits = {"names": ["kind"], "validation": 2, "test": 3}, []
    for seed, elsewhere in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(elsewhere)
        generator = torch.Generator().manual_seed(seed)
        splits.append(factor_tasks(images, generator=generator, **options).test[0])
    assert torch.equal(splits[0], splits[1]) and not torch.equal(splits[0], splits[2])


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (5, 5)])
def test_each_part_has_a_character(images, generator, sizes):
    options = {"generator": generator, "names": ["kind"]}
    with pytest.raises(ValueError, match="expected at least one for each and one to train on"):
        factor_tasks(images, validation=sizes[0], test=sizes[1], **options)
    tasks = factor_tasks(images, validation=1, test=8, **options)
    assert [len(p[0]) for p in (tasks.train, tasks.validation, tasks.test)] == [4, 4, 32]


def test_without_moments_numbers_stay_as_they_are(images):
    kept = factor_targets(images, ["angle"], moments={"other": (1.0, 2.0)})["angle"]
    assert torch.equal(kept, images.factors["angle"].reshape(40, 1))
    moved = factor_targets(images, ["angle"], moments={"angle": (1.0, 2.0)})["angle"]
    torch.testing.assert_close(moved, (kept - 1) / 2)


# --- skill --------------------------------------------------------------------------


class Fixed(nn.Module):
    """Says the same about a row whatever the weights: a network to score by hand."""

    def __init__(self, **outputs):
        super().__init__()
        self.heads, self.outputs = outputs, outputs

    def forward(self, x):
        rows = x[:, 0].long()
        return {name: output[rows] for name, output in self.outputs.items()}


ROWS = torch.arange(6.0)[:, None]
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
VALUES = torch.tensor([[1.0], [2], [3], [4], [5], [9]])


def test_a_perfect_network_has_a_skill_of_one():
    sure = 1000 * torch.eye(3)[LABELS]
    scores = skill(Fixed(sort=sure, size=VALUES), ROWS, {"sort": LABELS, "size": VALUES})
    assert scores == pytest.approx({"sort": 1, "size": 1})


def test_guessing_has_a_skill_of_zero():
    guess = torch.tensor([3 / 6, 2 / 6, 1 / 6]).log().expand(6, 3)
    network = Fixed(sort=guess, size=VALUES.mean().expand(6, 1))
    scores = skill(network, ROWS, {"sort": LABELS, "size": VALUES}, chunk=4)
    assert scores == pytest.approx({"sort": 0, "size": 0}, abs=1e-6)


def test_a_network_that_is_surely_wrong_is_below_zero():
    network = Fixed(sort=10 * torch.eye(3)[LABELS.roll(3)], size=-VALUES)
    assert max(skill(network, ROWS, {"sort": LABELS, "size": VALUES}).values()) < 0


@pytest.mark.parametrize("unit", [0.001, 1.0, 60.0])
def test_the_skill_has_no_unit(unit):
    output = VALUES + torch.tensor([[1.0], [-1], [0], [2], [0], [0]])
    score = skill(Fixed(size=unit * output), ROWS, {"size": unit * VALUES})["size"]
    assert score == pytest.approx(1 - 6 / (VALUES - 4).square().sum().item())


def test_rows_without_a_label_do_not_count():
    output = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    some, rows = LABELS.clone(), [1, 3, 4, 5]
    some[[0, 2]] = MISSING
    part = skill(Fixed(sort=output), ROWS[rows], {"sort": LABELS[rows]})
    assert skill(Fixed(sort=output), ROWS, {"sort": some}) == pytest.approx(part)
    values = VALUES.clone()
    values[0] = torch.nan
    part = skill(Fixed(size=output[:, :1]), ROWS[1:], {"size": VALUES[1:]})
    assert skill(Fixed(size=output[:, :1]), ROWS, {"size": values}) == pytest.approx(part)


def test_unless_it_is_told_otherwise_128_inputs_pass_at_once():
    seen = []

    class Counting(Fixed):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    rows = ROWS.repeat(50, 1)
    skill(Counting(size=VALUES), rows, {"size": VALUES.repeat(50, 1)})
    assert seen == [128, 128, 44]


def test_each_value_is_guessed_by_its_own_mean():
    values = torch.tensor([[0.0, 10.0], [2.0, 30.0]])
    network = Fixed(size=torch.tensor([[1.0, 20.0], [1.0, 20.0]]))
    assert skill(network, ROWS[:2], {"size": values}) == pytest.approx({"size": 0}, abs=1e-6)


def test_a_class_that_no_label_names_is_guessed_never():
    labels = torch.tensor([0, 0, 1, 1])
    guess = torch.tensor([1 / 2, 1 / 2, 1e-30]).log().expand(4, 3)
    scores = skill(Fixed(sort=guess), ROWS[:4], {"sort": labels})
    assert scores == pytest.approx({"sort": 0}, abs=1e-6)


def test_without_any_label_there_is_no_skill():
    none = {"sort": torch.full((6,), MISSING), "size": torch.full((6, 1), torch.nan)}
    scores = skill(Fixed(sort=torch.eye(3)[LABELS], size=VALUES), ROWS, none)
    assert all(score != score for score in scores.values()) and list(scores) == list(none)


def test_tasks_without_a_head_or_without_targets_are_left_out():
    network = Fixed(sort=torch.eye(3)[LABELS], size=VALUES)
    assert list(skill(network, ROWS, {"size": VALUES, "other": VALUES})) == ["size"]


def test_labels_that_are_all_alike_have_no_skill():
    network = MultiTask(nn.Identity(), {"size": nn.Linear(1, 1)})
    score = skill(network, ROWS, {"size": torch.ones(6, 1)})["size"]
    assert score != score  # NaN: nothing to explain

"""Drawing without replacement, and within groups; how tasks use it stands in test_tasks."""

from collections import Counter

import pytest
import torch

from metalearn_lite.datasets import ClassImages
from metalearn_lite.drawing import Groups, groups_of, pool_of, random_subsets
from metalearn_lite.randomness import seeded


def test_a_subset_holds_each_number_once_and_follows_the_generator():
    drawn = random_subsets((50, 3), 9, 4, seeded(0))
    assert drawn.shape == (50, 3, 4) and drawn.min() >= 0 and drawn.max() == 8
    assert all(len(set(row.tolist())) == 4 for row in drawn.flatten(0, 1))
    assert torch.equal(drawn, random_subsets((50, 3), 9, 4, seeded(0)))


def test_a_whole_population_in_random_order():
    counts = Counter(tuple(row.tolist()) for row in random_subsets((600,), 3, 3, seeded(1)))
    assert len(counts) == 6 and min(counts.values()) > 60  # 100 each, by chance within 4.4 sd


def test_classes_are_drawn_from_one_group_wherever_its_classes_stand():
    groups = Groups("abcabcbcb")
    own = {0: "a", 3: "a", 1: "b", 4: "b", 6: "b", 8: "b", 2: "c", 5: "c", 7: "c"}
    sizes, seen = {"a": 2, "b": 4, "c": 3}, set()
    for seed in range(100):
        drawn = groups.draw(2, 3, seeded(seed)).tolist()
        named = [{own[c] for c in row} for row in drawn]
        assert all(len(name) == 1 for name in named)
        assert len(drawn[0]) == min(3, *(sizes[min(name)] for name in named))
        seen |= {(min(name), tuple(row)) for name, row in zip(named, drawn, strict=True)}
    assert {name for name, _ in seen} == {"a", "b", "c"}


def test_what_cannot_be_drawn_from_is_named():
    with pytest.raises(ValueError, match=r"groups \['b'\] have one class each: expected two"):
        Groups("aab")
    with pytest.raises(ValueError, match="images are a list, which says nothing of groups"):
        groups_of([])
    with pytest.raises(ValueError, match=r"images is a NoneType: expected a torch\.Tensor"):
        pool_of([], 1, 1, 1)
    with pytest.raises(ValueError, match=r"shape \(5, 3\): expected \(classes, examples, \.\.\.\)"):
        pool_of(torch.zeros(5, 3), 1, 1, 1)
    with pytest.raises(ValueError, match="6 ways need 6 classes, but the data holds 5"):
        pool_of(torch.zeros(5, 3, 2), 6, 1, 1)
    with pytest.raises(ValueError, match="need 4 examples of each class, but the data holds 3"):
        pool_of(torch.zeros(5, 3, 2), None, 2, 2)
    assert pool_of(torch.zeros(5, 3, 2), 5, 1, 2).shape == (5, 3, 2)


def test_of_unequal_populations_each_number_is_drawn_as_often_and_none_beyond():
    sizes = torch.tensor([2, 3, 5])
    drawn = random_subsets((2000, 3), sizes.expand(2000, 3), 2, seeded(0))
    for column, size in enumerate(sizes.tolist()):
        rows = drawn[:, column]
        assert (rows[:, 0] != rows[:, 1]).all()
        counts = Counter(map(tuple, rows.tolist()))
        assert set(counts) == {(i, j) for i in range(size) for j in range(size) if i != j}
        share = 2000 / (size * (size - 1))
        assert all(abs(n - share) < 5 * share**0.5 for n in counts.values())


def test_equal_populations_are_drawn_as_one():
    drawn = random_subsets((50, 3), torch.full((50, 3), 9), 4, seeded(0))
    assert torch.equal(drawn, random_subsets((50, 3), 9, 4, seeded(0)))


def test_classes_with_too_few_are_named_with_what_to_do():
    images = torch.zeros(3, 5, 1, 2, 2)
    data = ClassImages(images, ("ash", "elm", "oak"), ("x",) * 3, counts=(3, 5, 2))
    assert pool_of(data, 3, 1, 1) is images
    with pytest.raises(
        ValueError,
        match=r"need 4 examples of each class, but ash has 3, oak has 2: with_at_least\(4\)",
    ):
        pool_of(data, 3, 2, 2)
    assert pool_of(data.with_at_least(4), 1, 2, 2).shape[0] == 1

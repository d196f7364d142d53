"""Images by class: splits that leak nothing, and everything else stays together."""

import pytest
import torch

from metalearn_lite.datasets import ClassImages, digits


@pytest.fixture
def small():
    """Four classes in three groups; pixel 0 is the class, pixel 1 the example."""
    images = torch.zeros(4, 5, 1, 2, 2)
    images[..., 0, 0, 0] = torch.arange(4).view(-1, 1)
    images[..., 0, 0, 1] = torch.arange(5)
    return ClassImages(
        images,
        ("a", "b", "c", "d"),
        ("x", "x", "y", "z"),
        {"train": ("x",), "test": ("y", "z")},
        {"slant": torch.arange(20.0).view(4, 5)},
    )


def test_a_split_by_group_keeps_names_images_and_factors_together(small):
    train, test = small.split_groups()
    assert train.class_names == ("a", "b") and test.class_names == ("c", "d")
    assert test.images[:, 0, 0, 0, 0].tolist() == [2, 3]
    assert test.factors["slant"].equal(small.factors["slant"][2:])
    (only,) = small.split_groups(["z"])
    assert only.groups == ("z",)


def test_the_parts_of_a_split_share_no_group(small):
    train, test = small.split_groups()
    assert not set(train.groups) & set(test.groups)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((["x"], ["x", "y"]), "groups in two parts \\['x'\\]"),
        ((["w"],), "groups not in the data \\['w'\\]"),
        (([], ["x"]), "expected each part to name some of"),
    ],
)
def test_splits_that_leak_or_are_empty_are_errors(small, parts, message):
    with pytest.raises(ValueError, match=message):
        small.split_groups(*parts)


def test_data_without_a_documented_split_says_so():
    with pytest.raises(ValueError, match="no documented split"):
        digits().split_groups()


def test_flatten_gives_each_image_its_class(small):
    x, y = small.flatten()
    assert x.shape == (20, 1, 2, 2) and y.dtype == torch.int64
    assert torch.equal(x[:, 0, 0, 0].long(), y)


def test_examples_keeps_a_range_of_each_class(small):
    part = small.examples(1, 3)
    assert part.images[0, :, 0, 0, 1].tolist() == [1, 2]
    assert part.factors["slant"].shape == (4, 2)
    assert torch.equal(small.examples(0, 5).images, small.images)
    assert small.examples(4, 5).images.shape[1] == 1
    for start, stop in ((3, 6), (-1, 2), (2, 2), (3, 1)):
        with pytest.raises(ValueError, match=f"examples {start} to {stop}: expected .* 0 to 5"):
            small.examples(start, stop)


def test_rotations_are_classes_of_their_own(small):
    turned = small.rotated()
    assert len(turned) == 16 and turned.class_names[4] == "a at 90°"
    assert torch.equal(turned.images[5], small.images[1].rot90(1, (-2, -1)))
    assert turned.factors["slant"].shape == (16, 5)
    assert turned.class_names[::4] == ("a at 0°", "a at 90°", "a at 180°", "a at 270°")
    for k in range(4):
        assert torch.equal(turned.images[4 * k : 4 * k + 4], small.images.rot90(k, (-2, -1)))
        assert torch.equal(turned.factors["slant"][4 * k : 4 * k + 4], small.factors["slant"])
        assert turned.groups[4 * k : 4 * k + 4] == small.groups


def test_mismatched_names_are_an_error():
    with pytest.raises(ValueError, match="a name and a group for each class"):
        ClassImages(torch.zeros(3, 5, 1, 2, 2), ("a", "b"), ("x", "x", "x"))


def test_images_without_channels_and_too_few_groups_are_errors():
    names, groups = ("a", "b"), ("x", "x")
    for images, given in ((torch.zeros(2, 5, 2, 2), groups), (torch.zeros(2, 5, 1, 2, 2), ("x",))):
        with pytest.raises(
            ValueError, match=r"expected \(classes, examples, channels, h, w\), and"
        ):
            ClassImages(images, names, given)


def test_the_classes_that_are_chosen_come_in_the_order_that_is_asked_for(small):
    chosen = small.select([3, 0])
    assert chosen.class_names == ("d", "a") and chosen.groups == ("z", "x")
    assert torch.equal(chosen.images, small.images[[3, 0]])
    assert torch.equal(chosen.factors["slant"], small.factors["slant"][[3, 0]])


def test_the_parts_are_described_in_one_line(small):
    assert repr(small) == "ClassImages(4 classes x 5 examples, 3 groups)"


def test_images_go_to_a_device_and_factors_stay():
    images = torch.rand(2, 3, 1, 4, 4)
    data = ClassImages(images, ("a", "b"), ("x", "x"), factors={"size": torch.ones(2, 3)})
    moved = data.to("meta")
    assert moved.images.device.type == "meta" and moved.images.shape == images.shape
    assert moved.factors["size"].device.type == data.images.device.type == "cpu"


@pytest.fixture
def unequal(small):
    """The same, with 3, 5, 1 and 2 examples."""
    images = small.images.clone()
    counts = (3, 5, 1, 2)
    for row, count in zip(images, counts, strict=True):
        row[count:] = torch.nan
    return ClassImages(images, small.class_names, small.groups, small.split, counts=counts)


def test_unequal_numbers_stay_with_their_classes(small, unequal):
    assert unequal.sizes == (3, 5, 1, 2) and small.sizes == (5,) * 4
    assert repr(unequal) == "ClassImages(4 classes x 1 to 5 examples, 3 groups)"
    assert unequal.select([3, 0]).counts == (2, 3)
    train, test = unequal.split_groups()
    assert train.counts == (3, 5) and test.counts == (1, 2)
    assert unequal.rotated().counts == (3, 5, 1, 2) * 4
    assert unequal.to("meta").counts == (3, 5, 1, 2)


def test_flatten_leaves_out_what_is_not_there(unequal):
    x, y = unequal.flatten()
    assert y.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 2, 3, 3] and x.isfinite().all()
    assert x[:, 0, 0, 0].tolist() == y.tolist()
    assert x[:, 0, 0, 1].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 0, 1]


def test_examples_that_a_class_does_not_have_are_refused(unequal):
    enough = unequal.with_at_least(2)
    assert enough.examples(0, 2).images.isfinite().all() and enough.examples(0, 2).counts == ()
    with pytest.raises(ValueError, match="examples 0 to 3: expected a range within 0 to 2"):
        enough.examples(0, 3)


def test_classes_with_enough_are_kept(unequal):
    assert unequal.with_at_least(3).class_names == ("a", "b")
    assert unequal.with_at_least(1).class_names == unequal.class_names
    with pytest.raises(ValueError, match="no class has 6 examples: expected 5 or fewer"):
        unequal.with_at_least(6)


def test_groups_can_be_said_afterwards(unequal):
    said = unequal.with_groups({"a": "x", "b": "y", "c": "x", "d": "y"})
    assert said.groups == ("x", "y", "x", "y") and said.split == {}
    assert said.split_groups(["x"], ["y"])[0].class_names == ("a", "c")
    with pytest.raises(ValueError, match=r"classes \['c', 'd'\] have no group"):
        unequal.with_groups({"a": "x", "b": "y"})


@pytest.mark.parametrize("counts", [(3, 5, 1), (3, 5, 0, 2), (3, 6, 1, 2)])
def test_counts_that_do_not_fit_are_errors(small, counts):
    with pytest.raises(ValueError, match="expected 4 from 1 to 5"):
        ClassImages(small.images, small.class_names, small.groups, counts=counts)

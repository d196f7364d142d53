"""Images that carry their name, and images that are known by their content."""

import pytest
import torch

from metalearn_lite.checks import marked_images
from metalearn_lite.checks.image_names import class_of, image_keys, image_names
from metalearn_lite.randomness import seeded

# images that carry their own name


def test_marked_images_are_all_different_and_survive_a_turn():
    images = marked_images(7, 3, shape=(1, 5, 5), least=0.5)
    assert images.shape == (7, 3, 1, 5, 5) and images.unique().numel() == 21
    assert images.min() > 0.5 and images.max() == 1
    assert torch.equal(images.rot90(1, (-2, -1)), images)


def test_an_image_is_filled_with_one_number_and_the_numbers_rise_above_zero():
    images = marked_images(4, 3, shape=(2, 3))
    numbers = images[..., 0, 0]
    assert torch.equal(images, numbers[..., None, None].expand(4, 3, 2, 3))
    assert numbers.min() > 0 and torch.equal(numbers.flatten().sort().values, numbers.flatten())
    assert images.dtype == torch.float32


def test_the_usual_shape_is_that_of_the_courses_images():
    assert marked_images(2, 3).shape == (2, 3, 1, 28, 28)


def test_a_pixel_can_be_changed_without_changing_another():
    images = marked_images(1, 2, shape=(2, 2))
    images[0, 1, 0, 0] = 7
    assert (images == 7).sum() == 1


def test_as_many_images_as_can_be_told_apart_are_told_apart():
    assert marked_images(2**10, 2**10, shape=()).unique().numel() == 2**20
    assert marked_images(1, 1, shape=()).tolist() == [[1.0]]


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (2**11, 2**11), (-2, -3)])
def test_more_or_fewer_images_than_can_be_told_apart_raise(sizes):
    with pytest.raises(ValueError, match=r"classes of .*: expected 1 to 1048576 images in all"):
        marked_images(*sizes)


# the content as a key


def test_the_key_is_the_content_and_nothing_else():
    x = torch.rand(3, 1, 4, 5, generator=seeded(0))
    keys = image_keys(x)
    assert len(set(keys)) == 3
    assert image_keys(x.clone()) == keys
    assert image_keys(x.requires_grad_()) == keys
    assert image_keys(x.flip(0)) == keys[::-1]


def test_the_key_does_not_depend_on_how_the_image_lies_in_memory():
    x = torch.rand(3, 4, 5, generator=seeded(0))
    turned = x.mT.contiguous().mT
    assert not turned.is_contiguous() and image_keys(turned) == image_keys(x)


def test_one_pixel_makes_another_key():
    x = torch.zeros(2, 1, 4, 5)
    assert len(set(image_keys(x))) == 1
    x[1, 0, 3, 4] = 1e-30
    assert len(set(image_keys(x))) == 2


def test_no_images_have_no_keys():
    assert image_keys(torch.zeros(0, 1, 4, 5)) == []


# names


def test_each_image_of_the_data_is_found_under_its_class_and_number():
    images = torch.rand(3, 2, 1, 4, 4, generator=seeded(0))
    names = image_names(images)
    assert len(names) == 6
    for c in range(3):
        for i, key in enumerate(image_keys(images[c])):
            assert names[key] == (c, i)
            assert class_of(key, names) == c


@pytest.mark.parametrize("twin", [(1, 0), (3, 0)])
def test_two_images_that_are_the_same_are_named(twin):
    images = marked_images(5, 3, shape=(1, 2, 2))
    images[3, 2] = images[twin]
    (c, i), cure = twin, "expected all different; audit the sampler with marked_images"
    with pytest.raises(ValueError, match=rf"images \({c}, {i}\) and \(3, 2\) are the same: {cure}"):
        image_names(images)


def test_an_image_that_is_not_in_the_data_is_an_error_with_its_cure():
    images = marked_images(2, 2, shape=(1, 2, 2))
    (key,) = image_keys(images[0, :1] / 2)
    with pytest.raises(ValueError, match=r"not among images: .* turn augmentation off, or audit"):
        class_of(key, image_names(images[:, 1:]))


@pytest.mark.parametrize("least", [-0.1, 0.9, 1.0, 2.0, float("nan")])
def test_a_bound_that_would_make_numbers_coincide_is_refused(least):
    with pytest.raises(ValueError, match=r"expected 0 to below 0\.9"):
        marked_images(2, 2, least=least)


def test_the_largest_set_that_is_allowed_has_all_its_images_different():
    values = marked_images(2**10, 2**10, shape=(1,), least=0.89)
    assert len(values.unique()) == 2**20


def test_what_is_nan_stands_for_no_image():
    images = marked_images(2, 4, shape=(1, 2, 2))
    images[0, 2:] = torch.nan
    names = image_names(images)
    assert set(names.values()) == {(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3)}
    assert all(names[image_keys(images[c, i : i + 1])[0]] == (c, i) for c, i in names.values())

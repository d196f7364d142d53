import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from metalearn_lite.datasets import (
    digits,
    glyphs,
    omniglot,
    omniglot_archive,
    printed_letters,
    rendering,
)

# glyphs


def test_glyphs_have_the_promised_form():
    data = glyphs()
    assert data.images.shape[1:] == (20, 1, 28, 28) and data.images.dtype == torch.float32
    assert data.images.min() == 0 and data.images.max() == 1
    assert len(data) >= 1200 and len(data.group_names) >= 15
    assert data.split == rendering.GLYPH_SPLIT
    assert all(values.shape == data.images.shape[:2] for values in data.factors.values())


def test_glyphs_are_split_by_script():
    parts = glyphs().split_groups()
    assert [len(part) >= 100 for part in parts] == [True, True, True]
    scripts = [script for part in parts for script in part.group_names]
    assert len(scripts) == len(set(scripts))


def count_renderings(monkeypatch):
    calls = []
    render = rendering.render_glyphs

    def counted(**options):
        calls.append(options)
        return render(**options)

    monkeypatch.setattr(rendering, "render_glyphs", counted)
    return calls


@pytest.mark.long
def test_glyphs_are_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("METALEARN_CACHE", str(tmp_path))
    calls = count_renderings(monkeypatch)
    first, again = glyphs(examples=2), glyphs(examples=2)
    assert len(calls) == 1 and torch.equal(first.images, again.images)


def test_each_setting_has_a_cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("METALEARN_CACHE", str(tmp_path))

    def render(*, seed, examples, deduplicate, size):
        """Each setting decides one of the numbers."""
        images = torch.zeros(2, examples, size, size, dtype=torch.uint8)
        images[0, 0, 0, :2] = torch.tensor([seed, deduplicate])
        return SimpleNamespace(
            images=images, class_names=["a", "b"], groups=["x", "y"], factors={}, factor_names={}
        )

    monkeypatch.setattr(rendering, "render_glyphs", render)
    settings = [{}, {"seed": 1}, {"examples": 2}, {"deduplicate": False}, {"size": 14}]
    made = [glyphs(**setting).images for setting in settings]
    assert len(list(tmp_path.iterdir())) == 5
    for setting, images in zip(settings, made, strict=True):
        assert torch.equal(glyphs(**setting).images, images)
    assert [len(m[0]) for m in made] == [20, 20, 2, 20, 20]
    assert [m.shape[-1] for m in made] == [28, 28, 28, 28, 14]
    told = [[0, 1], [1, 1], [0, 1], [0, 0], [0, 1]]
    assert [(255 * m[0, 0, 0, 0, :2]).tolist() for m in made] == told


# digits


def test_digits_are_real_and_in_range():
    data = digits()
    assert data.images.shape == (10, 174, 1, 28, 28)
    assert data.images.min() == 0 and data.images.max() == 1
    assert data.class_names == tuple("0123456789")


def test_digits_look_like_their_class():
    """A nearest class mean of half the digits names most of the other half."""
    images = digits().images.flatten(2)
    means, rest = images[:, :87].mean(1), images[:, 87:].flatten(0, 1)
    found = torch.cdist(rest, means).argmin(1)
    assert (found == torch.arange(10).repeat_interleave(87)).float().mean() > 0.8


def test_a_digit_is_enlarged_threefold_and_framed_by_two_pixels():
    from sklearn.datasets import load_digits

    small = torch.as_tensor(load_digits().images[0], dtype=torch.float32) / 16
    large = F.interpolate(small[None, None], (24, 24), mode="bicubic", align_corners=False)
    first = digits().images[load_digits().target[0], 0, 0]
    torch.testing.assert_close(first[2:26, 2:26], large[0, 0].clamp(0, 1))
    assert torch.equal(first, F.pad(first[2:26, 2:26], (2, 2, 2, 2)))


# Omniglot


@pytest.fixture
def tree(tmp_path):
    """A small Omniglot: seven alphabets of two characters, three drawings each."""
    rng = np.random.default_rng(0)
    for a in range(7):
        for c in range(2):
            folder = tmp_path / "images_background" / f"Alphabet_{a}" / f"character{c:02d}"
            folder.mkdir(parents=True)
            for d in range(3):
                page = Image.fromarray(rng.random((105, 105)) > 0.1)
                page.save(folder / f"{a}{c}_{d:02d}.png")
    return tmp_path


@pytest.fixture
def archive(tree):
    shutil.make_archive(str(tree / "images_background"), "zip", tree, "images_background")
    shutil.rmtree(tree / "images_background")
    return tree / "images_background.zip"


def test_a_tree_and_its_zip_give_the_same_images(tree, request):
    from_tree = omniglot(tree, complete=False)
    from_zip = omniglot(request.getfixturevalue("archive").parent, complete=False)
    assert from_tree.images.shape == (14, 3, 1, 28, 28)
    assert torch.equal(from_tree.images, from_zip.images)
    assert from_tree.class_names == from_zip.class_names


def test_ink_is_one_on_ground_zero_and_averaged_over_the_area(tree):
    """The made drawings are 10 % ink, so the mean must be too."""
    assert omniglot(tree, complete=False).images.mean().item() == pytest.approx(0.1, abs=0.01)


def test_the_background_set_has_a_split_by_alphabet(tree):
    train, validation = omniglot(tree, complete=False).split_groups()
    assert validation.group_names == ("Alphabet_5",)
    assert len(train.group_names) == 6


def write_alphabets(folder, part, count):
    for a in range(count):
        path = folder / part / f"Alphabet_{a:02d}" / "character01" / "1.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.arange(105 * 105).reshape(105, 105) % (a + 2) > 0).save(path)


def test_every_sixth_alphabet_of_the_background_set_is_for_validation(tmp_path):
    write_alphabets(tmp_path, "images_background", 12)
    data = omniglot(tmp_path, complete=False)
    train, validation = data.split_groups()
    assert validation.group_names == ("Alphabet_05", "Alphabet_11") and len(train) == 10
    assert data.class_names[0] == "Alphabet_00 character01"


@pytest.mark.parametrize(("part", "count"), [("images_evaluation", 6), ("images_background", 5)])
def test_the_evaluation_set_and_a_few_alphabets_have_no_split(part, count, tmp_path):
    write_alphabets(tmp_path, part, count)
    data = omniglot(tmp_path, complete=False, evaluation=part == "images_evaluation")
    assert len(data) == count and data.split == {}


def test_rotations_are_an_option(tree):
    assert len(omniglot(tree, rotations=True, complete=False)) == 56


def test_drawings_come_in_every_size_up_to_their_own(tree):
    small, half, whole = (omniglot(tree, complete=False, size=n).images for n in (28, 35, 105))
    assert whole.shape == (14, 3, 1, 105, 105) and set(whole.unique().tolist()) == {0, 1}
    means = torch.nn.functional.avg_pool2d(whole.flatten(0, 1), 3).view_as(half)
    torch.testing.assert_close(half, means, atol=0.5 / 255, rtol=0)  # kept in whole steps of 255
    assert torch.equal(small, omniglot(tree, complete=False).images)
    for size, message in ((106, "size is 106: expected 105 or less"), (0, "size is 0")):
        with pytest.raises(ValueError, match=message):
            omniglot(tree, complete=False, size=size)


def test_omniglot_is_resized_once(archive, monkeypatch):
    first = omniglot(archive.parent, complete=False)
    monkeypatch.setattr(omniglot_archive, "read_drawings", None)
    assert torch.equal(omniglot(archive.parent, complete=False).images, first.images)


def test_an_incomplete_archive_is_an_error(tree):
    with pytest.raises(ValueError, match=r"14 characters.*expected 964"):
        omniglot(tree)


def test_a_download_goes_through_torchvision_and_its_failure_is_explained(tmp_path, monkeypatch):
    import torchvision

    asked = []

    def offline(root, background, download):
        asked.append((root, background, download))
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "Omniglot", offline)
    with pytest.raises(OSError, match=r"no route to host.*images_evaluation\.zip there by hand"):
        omniglot(tmp_path, download=True, evaluation=True)
    assert asked == [(str(tmp_path), False, True)]


@pytest.mark.long
def test_real_omniglot_is_read_whole(omniglot_root):
    data = omniglot(omniglot_root)
    assert data.images.shape == (964, 20, 1, 28, 28)
    train, validation = data.split_groups()
    assert len(train.group_names) == 25 and len(validation.group_names) == 5
    assert 0.05 < data.images.mean() < 0.15


def test_nothing_is_fetched_unless_it_is_asked_for(tmp_path, monkeypatch):
    asked = []

    def find(*_, download):
        asked.append(download)
        raise FileNotFoundError

    monkeypatch.setattr(omniglot_archive, "find", find)
    for options in ({}, {"download": True}):
        with pytest.raises(FileNotFoundError):
            omniglot(tmp_path, **options)
    assert asked == [False, True]


# printed letters


def test_printed_letters_are_those_of_the_glyphs_that_all_faces_have():
    data, known = printed_letters(), glyphs()
    assert data.images.shape[1:] == (12, 1, 28, 28) and len(data) > 300
    assert set(data.class_names) < set(known.class_names)
    assert data.images.amax(dim=(2, 3, 4)).min() > 0.5  # no face lacks a letter
    faces = data.factor_names["face"]
    assert len(set(faces)) == 12 and data.factors["face"].tolist() == [[*range(12)]] * len(data)
    some = [rendering.letters(*faces).index(c) for c in "ა"]
    assert len(some) == 1
    index = data.class_names.index("GEORGIAN LETTER AN")
    for number, face in enumerate(faces):
        expected = rendering.plain_bitmaps("ა", face)[0]
        torch.testing.assert_close(data.images[index, number, 0], expected, atol=0.02, rtol=0)
    flat = data.images[index].flatten(1)
    assert torch.cdist(flat, flat).fill_diagonal_(1).min() > 0.1  # no face twice


def test_printed_letters_are_split_like_the_glyphs():
    data = printed_letters()
    for part, scripts in data.split.items():
        assert scripts and set(scripts) <= set(rendering.GLYPH_SPLIT[part])
    assert sum(map(len, data.split_groups())) == len(data)

"""Images of one's own: none lost, none invented, turned upright, whatever their mode and size."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from metalearn_lite.checks import audit_episodes
from metalearn_lite.datasets import from_arrays, from_pairs, image_folder, read_picture
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import ImageTasks

RED, BLUE, GREY = (200, 40, 20), (10, 60, 220), (128, 128, 128)


def plain(colour=RED, size=(12, 12), mode="RGB"):
    return Image.new("RGB", size, colour).convert(mode)


def save(folder, name, picture=None, **options):
    folder.mkdir(parents=True, exist_ok=True)
    (plain() if picture is None else picture).save(folder / name, **options)


@pytest.fixture
def folder(tmp_path):
    """Three classes of 4, 2 and 3 pictures, all different, and files that are none."""
    for value, (name, count) in enumerate({"oak": 4, "elm": 2, "ash": 3}.items()):
        for i in range(count):
            save(tmp_path / name, f"{i}.png", plain((50 * value + 10 * i, 0, 0)))
    (tmp_path / "notes.txt").write_text("taken on Monday", encoding="utf-8")
    (tmp_path / "oak" / "notes.txt").write_text("by the road", encoding="utf-8")
    (tmp_path / "oak" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    save(tmp_path / "oak" / "inner", "0.png")
    save(tmp_path / "elm", ".hidden.png")
    save(tmp_path / ".thumbnails", "0.png")
    return tmp_path


def test_a_folder_gives_each_class_its_pictures_and_names_what_it_passes_over(folder):
    data = image_folder(folder, side=8)
    assert data.class_names == data.groups == ("ash", "elm", "oak")
    assert data.counts == (3, 2, 4) and data.images.shape == (3, 4, 3, 8, 8)
    reds = [
        [round(255 * image[0, 0, 0].item()) for image in row[:n]]
        for row, n in zip(data.images, data.counts, strict=True)
    ]
    assert reds == [[100, 110, 120], [50, 60], [0, 10, 20, 30]]
    assert data.images[0, 3].isnan().all() and data.images[1, 2:].isnan().all()
    assert data.passed_over == (
        ".thumbnails",
        "elm/.hidden.png",
        "notes.txt",
        "oak/broken.jpg",
        "oak/inner",
        "oak/notes.txt",
    )
    assert repr(data) == ("ClassImages(3 classes x 2 to 4 examples, 3 groups, 6 files passed over)")


def test_every_picture_of_a_folder_can_be_drawn_and_none_that_is_not_there(folder):
    data = image_folder(folder, side=8)
    sizes = {"ways": 3, "shots": 1, "queries": 1}
    tasks = ImageTasks(data, **sizes)
    audit = audit_episodes(tasks, **sizes, images=data.images, generator=seeded(0))
    assert audit.faults == {}
    drawn = tasks.sample(seeded(1), 200)
    seen = torch.cat([drawn.support_x, drawn.query_x])[..., 0, 0, 0].mul(255).round()
    assert set(seen.flatten().tolist()) == {0, 10, 20, 30, 50, 60, 100, 110, 120}


def test_classes_of_one_number_are_not_padded(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name, "0.png")
    data = image_folder(tmp_path, side=8)
    assert data.counts == () and data.passed_over == () and data.images.isfinite().all()


def test_groups_split_pictures_of_ones_own_as_they_do_glyphs(folder):
    data = image_folder(folder, side=8)
    mine = data.with_groups({"oak": "park", "elm": "road", "ash": "park"})
    park, road = mine.split_groups(["park"], ["road"])
    assert park.class_names == ("ash", "oak") and park.counts == (3, 4)
    assert road.class_names == ("elm",) and road.counts == (2,)
    known, unknown = data.split_groups(["ash", "oak"], ["elm"])  # each class its own group
    assert len(known) == 2 and len(unknown) == 1


def test_what_is_no_folder_of_classes_is_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere is no folder: expected one that holds a folder"):
        image_folder(tmp_path / "nowhere")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="file is no folder"):
        image_folder(tmp_path / "file")
    with pytest.raises(ValueError, match=r"has 0 folder.*passed over were \['file'\]"):
        image_folder(tmp_path)
    save(tmp_path / "oak", "0.png")
    with pytest.raises(ValueError, match=r"has 1 folder.*: expected two folders or more"):
        image_folder(tmp_path)
    (tmp_path / "elm").mkdir()
    (tmp_path / "elm" / "0.heic").write_bytes(b"not known")
    with pytest.raises(ValueError, match=r"\['elm'\] have no picture, .*'elm/0\.heic'"):
        image_folder(tmp_path)
    with pytest.raises(ValueError, match="side is 0: expected a whole number"):
        image_folder(tmp_path, side=0)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "YCbCr", "1", "I;16"])
def test_a_grey_picture_is_as_grey_in_every_mode(tmp_path, mode):
    value = 255 if mode == "1" else 128
    picture = plain((value,) * 3)
    if mode == "I;16":
        picture = Image.fromarray(np.full((12, 12), 128 * 257, np.uint16))
    picture = picture if mode == "I;16" else picture.convert(mode)
    assert picture.mode == mode
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    save(tmp_path, f"a.{suffix}", picture)
    for colour, channels in ((True, 3), (False, 1)):
        x = read_picture(tmp_path / f"a.{suffix}", side=6, colour=colour)
        assert x.shape == (channels, 6, 6) and x.dtype == torch.float32
        torch.testing.assert_close(x, torch.full_like(x, value / 255), rtol=0, atol=1.1 / 255)


def test_sixteen_bits_keep_their_shades(tmp_path):
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    save(tmp_path, "a.png", Image.fromarray(ramp))
    x = read_picture(tmp_path / "a.png", side=8, colour=False)
    torch.testing.assert_close(x[0], torch.linspace(0, 1, 64).view(8, 8), rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_what_is_transparent_is_white(tmp_path, mode):
    picture = Image.new("RGBA", (10, 10), (*RED, 0))
    picture.paste((*BLUE, 255), (0, 0, 5, 10))
    if mode == "P":
        picture = Image.new("P", (10, 10), 1)
        picture.putpalette([*BLUE, *RED])
        picture.paste(0, (0, 0, 5, 10))
        picture.info["transparency"] = 1
    save(tmp_path, "a.png", picture, **({"transparency": 1} if mode == "P" else {}))
    x = read_picture(tmp_path / "a.png", side=10)
    torch.testing.assert_close(x[:, 0, 0], torch.tensor(BLUE) / 255)
    assert (x[:, 0, 9] == 1).all()


def test_the_square_in_the_middle_is_kept_with_its_shape(tmp_path):
    wide = plain(GREY, (30, 10))
    wide.paste(RED, (10, 0, 20, 10))
    save(tmp_path, "wide.png", wide)
    save(tmp_path, "tall.png", wide.transpose(Image.Transpose.ROTATE_90))
    for name in ("wide.png", "tall.png"):
        x = read_picture(tmp_path / name, side=5)
        torch.testing.assert_close(x, (torch.tensor(RED) / 255).view(3, 1, 1).expand(3, 5, 5))


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    picture = plain(GREY, (16, 16))
    picture.paste(RED, (0, 0, 16, 8))  # the sky is red
    exif = Image.Exif()
    exif[0x0112] = 6  # held on its side: turn by a quarter, clockwise
    save(tmp_path, "a.png", picture.transpose(Image.Transpose.ROTATE_90), exif=exif)
    save(tmp_path, "b.png", picture)
    turned, upright = (read_picture(tmp_path / name, side=16) for name in ("a.png", "b.png"))
    assert torch.equal(turned, upright)


@pytest.mark.parametrize("size", [(400, 300), (641, 233)])
def test_a_large_jpeg_is_the_same_read_whole_or_in_part(tmp_path, size):
    waves = np.sin(np.arange(size[0]) / 40)[None] * np.cos(np.arange(size[1]) / 40)[:, None]
    pixels = np.repeat(np.uint8(127 + 100 * waves)[..., None], 3, axis=2)
    save(tmp_path, "a.jpg", Image.fromarray(pixels), quality=95)
    with Image.open(tmp_path / "a.jpg") as whole:
        (expected,) = from_pairs(
            [(whole.convert("RGB"), 0), (whole.convert("RGB"), 1)], side=32
        ).images[0]
    read = read_picture(tmp_path / "a.jpg", side=32)
    torch.testing.assert_close(read, expected, rtol=0, atol=0.02)


def test_what_cannot_be_read_is_named_with_what_is_expected(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    for name in ("a.jpg", "nowhere.png"):
        with pytest.raises(ValueError, match=rf"{name} cannot be read \(.*: expected a picture"):
            read_picture(tmp_path / name)


def test_a_picture_that_was_cut_off_is_passed_over_and_not_filled_up(tmp_path):
    noise = torch.randint(256, (64, 64, 3), generator=seeded(0), dtype=torch.uint8).numpy()
    save(tmp_path / "oak", "0.png", Image.fromarray(noise))
    save(tmp_path / "elm", "0.png", Image.fromarray(noise))
    whole = (tmp_path / "oak" / "0.png").read_bytes()
    (tmp_path / "oak" / "1.png").write_bytes(whole[: len(whole) // 2])
    data = image_folder(tmp_path)
    assert data.counts == () and data.passed_over == ("oak/1.png",)


ARRAYS = {
    "grey, uint8": (lambda x: (x[:, 0] * 255).round().byte().numpy(), 1),
    "channel first, float": (lambda x: x.numpy(), 3),
    "channel last, float64": (lambda x: x.permute(0, 2, 3, 1).double().numpy(), 3),
    "channel last, tensor uint8": (lambda x: (x.permute(0, 2, 3, 1) * 255).round().byte(), 3),
    "one channel last": (lambda x: x[:, :1].permute(0, 2, 3, 1), 1),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_every_layout_give_the_same_images(name):
    make, channels = ARRAYS[name]
    x = torch.randint(256, (5, 3, 6, 7), generator=seeded(0)) / 255
    data = from_arrays(make(x), [7, 2, 7, 2, 7])
    assert data.class_names == ("2", "7") and data.counts == (2, 3)
    assert data.images.shape == (2, 3, channels, 6, 7)
    images, labels = data.flatten()
    torch.testing.assert_close(images, x[[1, 3, 0, 2, 4], :channels])
    assert labels.tolist() == [0, 0, 1, 1, 1]


def test_labels_are_numbers_or_names_and_a_mapping_needs_none():
    x = torch.rand(4, 5, 5, generator=seeded(0))
    by_name = from_arrays(x, ["oak", "elm", "oak", "oak"])
    mapped = from_arrays({"oak": x[[0, 2, 3]], "elm": x[1:2].numpy()})
    numbered = from_arrays(x, torch.tensor([1, 0, 1, 1]))
    for data in (by_name, mapped, numbered):
        assert data.counts == (1, 3)
        assert torch.equal(data.flatten()[0][:, 0], x[[1, 0, 2, 3]])
    assert by_name.class_names == mapped.class_names == ("elm", "oak")
    tens = from_arrays(torch.rand(3, 4, 4), np.array([10, 9, 2]))
    assert tens.class_names == ("2", "9", "10")  # in the order of the numbers


class Pictures(Dataset):
    """As of torchvision: a length, pairs by number, and ``classes``; it says not where it ends."""

    classes = ("ash", "elm", "oak")

    def __len__(self):
        return 5

    def __getitem__(self, i):
        assert 0 <= i < len(self), "more was asked for than there is"
        return plain(RED if i % 2 else BLUE, (8 + i, 9)), torch.tensor(2 * (i % 2))


def test_a_dataset_of_torchvision_gives_its_classes_by_name():
    data = from_pairs(Pictures(), side=6, colour=False)
    assert data.class_names == ("ash", "oak") and data.counts == (3, 2)
    grey = torch.tensor([0.299, 0.587, 0.114]) @ torch.tensor([BLUE, RED]).T.float() / 255
    torch.testing.assert_close(data.images[:, 0].mean(dim=(1, 2, 3)), grey)
    named = from_pairs([*zip(torch.rand(3, 4, 4), (0, 1, 1), strict=True)], class_names=("x", "y"))
    assert named.class_names == ("x", "y")


X = torch.rand(4, 3, 6, 6, generator=seeded(0))
BAD = {
    "one label for each image": (lambda: from_arrays(X, [0, 1]), "got 4 images and other labels"),
    "no labels": (lambda: from_arrays(X), "expected a label for each"),
    "one class": (lambda: from_arrays(X, [1] * 4), r"classes \[1\] .* expected two classes"),
    "nothing": (lambda: from_pairs([]), r"classes \[\] .* expected two classes"),
    "numbers and names": (lambda: from_arrays(X, [0, 1, "a", 1]), "all numbers or all names"),
    "two sizes": (lambda: from_pairs([(X[0], 0), (X[0, :, :3], 1)]), "one shape; give side"),
    "0 to 255": (lambda: from_arrays(255 * X, [0, 1] * 2), r"values from .* to 25.*from 0 to 1"),
    "below 0": (lambda: from_arrays(X - 1, [0, 1] * 2), r"values from -.*from 0 to 1"),
    "NaN": (lambda: from_arrays(X / 0 * 0, [0, 1] * 2), r"values from nan to nan"),
    "four channels": (lambda: from_arrays(torch.rand(2, 4, 6, 6), [0, 1]), "1 or 3 channels"),
    "no image": (lambda: from_pairs([(X[0, 0, 0], 0), (X[0], 1)]), r"shape \(6,\)"),
    "a name too few": (
        lambda: from_pairs([(X[0], 0), (X[1], 2)], class_names=("a", "b")),
        r"labels are \[0, 2\]: expected numbers of the names",
    ),
    "a negative label": (
        lambda: from_pairs([(X[0], 0), (X[1], -1)], class_names=("a", "b")),
        r"labels are \[-1, 0\]",
    ),
    "no side": (lambda: from_arrays(X, [0, 1] * 2, side=0), "side is 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_meant_is_named(name):
    call, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        call()


def test_what_is_handed_in_stays_unchanged():
    x = X.clone()
    data = from_arrays(x, [0, 1, 0, 0], side=4, colour=False)
    data.images.fill_(0)
    assert torch.equal(x, X)

"""Images of your own: a folder for each class, arrays, or pairs of an image and its label.

The numbers of images of the classes may differ, and none is lost: ``ClassImages.counts`` has them.

Each class is a group of its own at first. ``split_groups`` then keeps classes apart, and not what
several of them share, such as a place or a person, and a score on "new" classes may be too good;
``ClassImages.with_groups`` says what belongs together.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from metalearn_lite.arguments import check_counts
from metalearn_lite.datasets.class_images import ClassImages

Names = Sequence[str] | None


def image_folder(path: str | PathLike[str], *, side: int = 64, colour: bool = True) -> ClassImages:
    """Read a folder that holds a folder of pictures for each class.

    A picture is turned as its camera says (EXIF), what is transparent becomes white, and the
    largest square in its middle is resized. Hidden files, folders within a class, and what is no
    picture are passed over, and named in ``passed_over``.

    Args:
        path: the folder; the names of its sub-folders are those of the classes.
        side: height and width to resize to.
        colour: three channels; otherwise one, grey.

    Returns:
        The classes in alphabetical order, images ``(classes, most, 3 or 1, side, side)``, each
        class a group of its own.

    Raises:
        ValueError: if there is no such folder, fewer than two classes, or a class without a picture
            that can be read.
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"{root} is no folder: expected one that holds a folder for each class")
    check_counts(side=side)
    folders = sorted(folder for folder in root.glob("[!.]*") if folder.is_dir())
    read: dict[Path, Tensor] = {}
    for file in (file for folder in folders for file in sorted(folder.glob("[!.]*"))):
        with suppress(ValueError):
            read[file] = read_picture(file, side=side, colour=colour)
    inside = [*root.iterdir(), *(file for folder in folders for file in folder.iterdir())]
    over = sorted(f.relative_to(root).as_posix() for f in inside if f not in {*folders, *read})
    empty = [folder.name for folder in folders if folder not in {file.parent for file in read}]
    if empty or len(folders) < 2:
        raise ValueError(
            f"{root} has {len(folders)} folder(s), of which {empty} have no picture, and passed "
            f"over were {over}: expected two folders or more, each with a picture"
        )
    return _by_class([(x, file.parent.name) for file, x in read.items()], None, tuple(over))


def read_picture(path: str | PathLike[str], *, side: int = 64, colour: bool = True) -> Tensor:
    """Read one picture as ``image_folder`` does.

    Args:
        path: a file of any kind that Pillow reads.
        side: height and width to resize to.
        colour: three channels; otherwise one, grey.

    Returns:
        ``(3 or 1, side, side)``, float in [0, 1].

    Raises:
        ValueError: if it is no picture, or damaged.
    """
    try:
        with Image.open(path) as opened:
            opened.draft(None, (2 * side, 2 * side))  # of a large JPEG, no more than is needed
            return _fitted(_tensor_of(opened), side, colour)
    except Exception as error:  # the decoders of damaged files raise errors of many kinds
        message = f"{path} cannot be read ({error}): expected a picture, such as JPEG or PNG"
        raise ValueError(message) from error


def from_arrays(
    arrays: Any, labels: Any = None, *, side: int | None = None, colour: bool | None = None
) -> ClassImages:
    """Take images from arrays of NumPy or PyTorch, in any order.

    Args:
        arrays: images ``(n, h, w)``, ``(n, channels, h, w)`` or ``(n, h, w, channels)`` with 1 or 3
            channels, uint8 or float in [0, 1]; or, without ``labels``, such an array for each
            class, by its name.
        labels: the class of each, a number or a name.
        side: as in ``from_pairs``.
        colour: as in ``from_pairs``.

    Returns:
        The images by class, each class a group of its own.

    Raises:
        ValueError: if there is not one label for each image, and as in ``from_pairs``.
    """
    if isinstance(arrays, Mapping):
        pairs = [(image, name) for name, images in arrays.items() for image in images]
        return from_pairs(pairs, side=side, colour=colour)
    if labels is None or len(arrays) != len(labels):
        raise ValueError(f"got {len(arrays)} images and other labels: expected a label for each")
    return from_pairs([*zip(arrays, labels, strict=True)], side=side, colour=colour)


def from_pairs(
    pairs: Any, *, class_names: Names = None, side: int | None = None, colour: bool | None = None
) -> ClassImages:
    """Take images from pairs of an image and its label, such as a ``Dataset`` of torchvision.

    Args:
        pairs: an image of Pillow, or an array or tensor as in ``from_arrays``, and a number or
            name. Whatever has a length and gives a pair for each number will do.
        class_names: what labels from 0 stand for; None asks the attribute ``classes`` of ``pairs``,
            and takes the labels themselves if there is none.
        side: height and width to resize to, as in ``image_folder``; None leaves the size.
        colour: three channels, or one; None leaves them.

    Returns:
        The images by class, in the order of the labels, each class a group of its own.

    Raises:
        ValueError: if sizes differ, a number is outside [0, 1], a name is missing, or there are
            fewer than two classes.
    """
    check_counts(side=1 if side is None else side)
    given = (pairs[i] for i in range(len(pairs)))
    fitted = [(_fitted(_tensor_of(image), side, colour), label) for image, label in given]
    return _by_class(fitted, class_names or getattr(pairs, "classes", None))


def _by_class(
    pairs: list[Any], class_names: Names, passed_over: tuple[str, ...] = ()
) -> ClassImages:
    """Put images ``(channels, h, w)`` side by side by label, with NaN where a class has fewer."""
    found: dict[Any, list[Tensor]] = {}
    for image, label in pairs:
        found.setdefault(label.item() if hasattr(label, "item") else label, []).append(image)
    shapes = {tuple(image.shape) for image, _ in pairs}
    if len(found) < 2 or len(shapes) > 1 or len({*map(type, found)}) > 1:
        raise ValueError(
            f"got the classes {[*found]} and images of shapes {sorted(shapes)}: expected two "
            "classes or more, all numbers or all names, and one shape; give side and colour"
        )
    labels, counts = sorted(found), [len(found[label]) for label in sorted(found)]
    if class_names is not None and not {*labels} <= {*range(len(class_names))}:
        raise ValueError(f"labels are {labels}: expected numbers of the names {class_names}")
    names = tuple(str(label) if class_names is None else class_names[label] for label in labels)
    images = torch.full((len(labels), max(counts), *shapes.pop()), torch.nan)
    for row, label, count in zip(images, labels, counts, strict=True):
        row[:count] = torch.stack(found[label])
    unequal = tuple(counts) if min(counts) < max(counts) else ()
    return ClassImages(images, names, names, counts=unequal, passed_over=passed_over)


def _tensor_of(image: Any) -> Tensor:
    """Return a picture or an array as ``(1 or 3, h, w)``, float in [0, 1]."""
    x = torch.as_tensor(_plain(image) if isinstance(image, Image.Image) else image)
    x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
    x = x.unsqueeze(0) if x.ndim == 2 else x
    x = x.permute(2, 0, 1) if x.ndim == 3 and x.shape[0] not in (1, 3) else x
    if x.ndim != 3 or x.shape[0] not in (1, 3) or not ((x >= 0) & (x <= 1)).all():
        raise ValueError(
            f"an image has shape {tuple(x.shape)}, with values from {x.min():g} to {x.max():g}: "
            "expected (h, w), or 1 or 3 channels first or last; uint8, or float from 0 to 1"
        )
    return x


def _plain(picture: Image.Image) -> np.ndarray:
    """Return a picture of any mode, turned upright, as uint8 in RGB or grey, or as float."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":  # 16 bits, which Pillow would cut off at 255, or float
        return np.asarray(picture, np.float32) / (65535 if picture.mode[0] == "I" else 1)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return np.array(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))


def _fitted(x: Tensor, side: int | None, colour: bool | None) -> Tensor:
    """Resize the square in the middle of an image ``(1 or 3, h, w)``; make it grey or coloured."""
    if side is not None:
        short = min(x.shape[-2:])
        top, left = ((length - short) // 2 for length in x.shape[-2:])
        x = x[:, top : top + short, left : left + short].unsqueeze(0)
        x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True)[0].clamp(0, 1)
    if colour is False and len(x) == 3:
        x = 0.299 * x[:1] + 0.587 * x[1:2] + 0.114 * x[2:]  # luminance, as Pillow has it
    return x.expand(3, -1, -1) if colour else x

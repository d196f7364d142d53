"""Know an image by its content, or let it carry its own name."""

from collections.abc import Mapping

import torch
from torch import Tensor


def marked_images(
    classes: int, examples: int, *, shape: tuple[int, ...] = (1, 28, 28), least: float = 0.0
) -> Tensor:
    """Return images that carry their own name: each is filled with a number of its own.

    Turning, flipping or cropping leaves them as they are.

    Args:
        classes: how many classes.
        examples: images of each.
        shape: of an image.
        least: the numbers lie above it, and at most at 1.

    Returns:
        ``(classes, examples, *shape)``, float32.
    """
    count = classes * examples
    if not 0 <= least < 0.9:
        raise ValueError(f"least is {least}: expected 0 to below 0.9, or numbers would coincide")
    if min(classes, examples) < 1 or count > 2**20:
        raise ValueError(f"{classes} classes of {examples}: expected 1 to {2**20} images in all")
    values = least + (1 - least) * torch.arange(1, count + 1) / count
    return values.view(classes, examples, *(1 for _ in shape)).expand(-1, -1, *shape).clone()


def image_keys(x: Tensor) -> list[bytes]:
    """Return the content of each image of ``(n, ...)``, to compare and to look up."""
    return [image.numpy().tobytes() for image in x.detach().cpu().contiguous()]


def image_names(images: Tensor) -> dict[bytes, tuple[int, int]]:
    """Return class and number of each image, by its content.

    Args:
        images: ``(classes, examples, ...)``; what is NaN stands for none, as in ``ClassImages``.

    Raises:
        ValueError: if two are the same.
    """
    names: dict[bytes, tuple[int, int]] = {}
    for c, of_class in enumerate(images):
        there = [i for i, image in enumerate(of_class) if not image.isnan().all()]
        for i, key in zip(there, image_keys(of_class[there]), strict=True):
            if key in names:
                raise ValueError(
                    f"images {names[key]} and {(c, i)} are the same: expected all different; "
                    "audit the sampler with marked_images instead"
                )
            names[key] = (c, i)
    return names


def class_of(key: bytes, names: Mapping[bytes, tuple[int, int]]) -> int:
    """Return the class of an image by its content; raise a ``ValueError`` if it is unknown."""
    if key not in names:
        raise ValueError(
            "an image of an episode is not among images: expected those that the sampler draws "
            "from, unchanged; turn augmentation off, or audit it with marked_images"
        )
    return names[key][0]

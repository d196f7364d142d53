"""Data sets that need no download: images by class, the classes by group."""

from metalearn_lite.datasets.augmentation import per_image
from metalearn_lite.datasets.class_images import ClassImages
from metalearn_lite.datasets.cropping import crop_to_ink
from metalearn_lite.datasets.loading import digits, glyphs, omniglot, printed_letters

__all__ = [
    "ClassImages",
    "crop_to_ink",
    "digits",
    "glyphs",
    "omniglot",
    "per_image",
    "printed_letters",
]

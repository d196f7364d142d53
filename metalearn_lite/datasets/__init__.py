"""Images by class, the classes by group: what needs no download, and images of your own."""

from metalearn_lite.datasets.augmentation import per_image
from metalearn_lite.datasets.class_images import ClassImages
from metalearn_lite.datasets.cropping import crop_to_ink
from metalearn_lite.datasets.loading import digits, glyphs, omniglot, printed_letters
from metalearn_lite.datasets.own_images import from_arrays, from_pairs, image_folder, read_picture

__all__ = [
    "ClassImages",
    "crop_to_ink",
    "digits",
    "from_arrays",
    "from_pairs",
    "glyphs",
    "image_folder",
    "omniglot",
    "per_image",
    "printed_letters",
    "read_picture",
]

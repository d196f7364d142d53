"""Variants of an assignment: the numbers and the held-out script follow from a seed.

The teacher sets the seed, so that a course can be given twice with other numbers and another
script. Everything else stays: what is asked, and what is checked.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from metalearn_lite.datasets.class_images import ClassImages
from metalearn_lite.datasets.loading import glyphs

Choice = TypeVar("Choice")

# Scripts with twenty characters or more that the documented split leaves for judging.
HELD_OUT = ("Armenian", "Georgian", "Hebrew", "Lao", "N'Ko", "Ogham", "Old Italic", "Tifinagh")


@dataclass(frozen=True)
class Variant:
    """One variant of the assignments.

    Args:
        seed: the teacher's number.
    """

    seed: int

    def choose(self, name: str, options: Sequence[Choice]) -> Choice:
        """Pick one of the options; the name makes the picks of a variant independent."""
        if not options:
            raise ValueError(f"{name} has no options: expected at least one")
        return options[seed_from(self.seed, name) % len(options)]

    def generator(self, name: str) -> torch.Generator:
        """Return a new generator that belongs to a name: the same at every call."""
        return torch.Generator().manual_seed(seed_from(self.seed, "generator", name))

    @property
    def held_out(self) -> str:
        """The script that is kept for judging."""
        return self.choose("held-out script", HELD_OUT)

    def split(self) -> tuple[ClassImages, ClassImages]:
        """Return the glyphs to learn from and those of the held-out script.

        To learn from there are the training scripts of the documented split; no other
        script of the list above is among them.
        """
        images = glyphs()
        train, held_out = images.split_groups(images.split["train"], [self.held_out])
        return train, held_out


def seed_from(*parts: object) -> int:
    """Turn a name into a seed, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1

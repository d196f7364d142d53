"""Texts by class, the classes by group: those of the course, and a reader's own."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from metalearn_lite.datasets.class_images import GroupedClasses


@dataclass(frozen=True)
class TextClasses(GroupedClasses):
    """Texts by class, the classes by group; classes may have unequal numbers of texts.

    Attributes:
        texts: the texts of each class, one or more.
        class_names: one name for each class.
        groups: the group of each class. Data is split by group, never by text.
        split: the documented split, part to groups; ``split_groups()`` follows it.

    Raises:
        ValueError: if a class has no text, no name or no group, or a text is no ``str``.
    """

    texts: tuple[tuple[str, ...], ...]
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    split: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = {len(self.texts), len(self.class_names), len(self.groups)}
        strings = all(isinstance(text, str) for own in self.texts for text in own)
        if len(sizes) > 1 or not all(self.sizes) or not strings:
            raise ValueError(
                f"got {len(self.texts)} classes of {self.sizes} texts, {len(self.class_names)} "
                f"names and {len(self.groups)} groups: expected a name, a group and one text or "
                "more for each class, all of them str"
            )

    def __repr__(self) -> str:
        groups = len(self.group_names)
        return f"TextClasses({len(self)} classes, {sum(self.sizes):,} texts, {groups} groups)"

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many texts each class has."""
        return tuple(map(len, self.texts))

    def select(self, classes: Sequence[int]) -> Self:
        """Keep only the classes with these numbers, in this order."""
        return replace(
            self,
            texts=tuple(self.texts[i] for i in classes),
            class_names=tuple(self.class_names[i] for i in classes),
            groups=tuple(self.groups[i] for i in classes),
        )

    def flatten(self) -> tuple[list[str], Tensor]:
        """Return the texts, class by class, and int64 labels."""
        labels = torch.arange(len(self)).repeat_interleave(torch.tensor(self.sizes))
        return [text for own in self.texts for text in own], labels


def from_texts(texts: Sequence[str], labels: Sequence[object]) -> TextClasses:
    """Take texts in any order, with the class of each.

    Args:
        texts: the texts.
        labels: numbers or names.

    Returns:
        The texts by class, in the order of the labels, each class a group of its own.

    Raises:
        ValueError: if there is not one label for each text, or fewer than two classes.
    """
    found: dict[str, list[str]] = {}
    if len(texts) == len(labels):
        for text, label in zip(texts, labels, strict=True):
            found.setdefault(str(label), []).append(text)
    if len(found) < 2:
        raise ValueError(
            f"got {len(texts)} texts with {len(labels)} labels, {len(found)} classes: expected a "
            "label for each, and two classes or more"
        )
    names = tuple(sorted(found))
    return TextClasses(tuple(tuple(found[name]) for name in names), names, names)


def read_texts(
    path: str | PathLike[str], *, text: str = "text", label: str = "label"
) -> TextClasses:
    """Read texts of one's own: a CSV file, or a folder that holds a folder for each class.

    Args:
        path: a CSV file in UTF-8 whose first row names the columns; or a folder with a sub-folder
            for each class, in which each file ``*.txt`` is a text.
        text: the column with the texts.
        label: the column with their classes.

    Returns:
        The texts by class, in alphabetical order, each class a group of its own; space around a
        text is taken away.

    Raises:
        ValueError: if there is no such file or folder, it is not in UTF-8, a column is missing, or
            there are fewer than two classes.
    """
    root = Path(path)
    try:
        if root.is_dir():
            files = sorted(root.glob("[!.]*/[!.]*.txt"))
            pairs = [(f.read_text(encoding="utf-8-sig"), f.parent.name) for f in files]
        else:
            with root.open(encoding="utf-8-sig", newline="") as opened:
                pairs = [(row[text], row[label]) for row in csv.DictReader(opened)]
    except (OSError, UnicodeError, KeyError) as error:
        raise ValueError(
            f"{root} cannot be read ({error!r}): expected a CSV file in UTF-8 with the columns "
            f"{text!r} and {label!r}, or a folder with a folder of *.txt files for each class"
        ) from error
    return from_texts([(given or "").strip() for given, _ in pairs], [name for _, name in pairs])

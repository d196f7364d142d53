"""Images by class, the classes by group: what every data set of the course is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor


class GroupedClasses:
    """Classes by group, whatever their examples are: what images and texts share.

    Attributes:
        class_names: one name for each class.
        groups: the group of each class.
        split: the documented split, part to groups.
    """

    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    split: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.class_names)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many examples each class has."""
        raise NotImplementedError

    def select(self, classes: Sequence[int]) -> Self:
        """Keep only the classes with these numbers, in this order."""
        raise NotImplementedError

    @property
    def group_names(self) -> tuple[str, ...]:
        """The groups, each once, in alphabetical order."""
        return tuple(sorted(set(self.groups)))

    def split_groups(self, *parts: Collection[str]) -> tuple[Self, ...]:
        """Split by group.

        Args:
            *parts: the groups of each part; without any, the documented split, which for
                ``glyphs()`` and ``omniglot()`` begins with train and validation.

        Returns:
            One such object a part.

        Raises:
            ValueError: if a group is unknown or in two parts, or a part is empty.
        """
        wanted = [*parts] or [*self.split.values()]
        if not wanted:
            raise ValueError(
                "the data has no documented split: name the groups of each part, "
                f"from {self.group_names}"
            )
        named = [group for part in wanted for group in part]
        unknown, twice = set(named) - set(self.groups), {g for g in named if named.count(g) > 1}
        if unknown or twice or not all(wanted):
            raise ValueError(
                f"cannot split: groups not in the data {sorted(unknown)}, groups in two parts "
                f"{sorted(twice)}; expected each part to name some of {self.group_names}"
            )
        return tuple(
            self.select([i for i, g in enumerate(self.groups) if g in set(part)]) for part in wanted
        )

    def with_at_least(self, number: int) -> Self:
        """Keep only the classes that have so many examples, such as shots and queries together.

        Raises:
            ValueError: if there is none.
        """
        enough = [i for i, size in enumerate(self.sizes) if size >= number]
        if not enough:
            raise ValueError(f"no class has {number} examples: expected {max(self.sizes)} or fewer")
        return self.select(enough)

    def with_groups(self, groups: Mapping[str, str]) -> Self:
        """Say which classes belong together: by person, place, or whatever they share.

        Args:
            groups: the group of each class, by the name of the class.

        Raises:
            ValueError: if a class has no group.
        """
        missing = [name for name in self.class_names if name not in groups]
        if missing:
            raise ValueError(f"classes {missing} have no group: expected one for each class")
        named = tuple(groups[name] for name in self.class_names)
        return replace(self, groups=named, split={})  # type: ignore[type-var]


@dataclass(frozen=True)
class ClassImages(GroupedClasses):
    """Images by class, the classes by group (script, alphabet).

    Attributes:
        images: ``(classes, examples, channels, h, w)``, float in [0, 1]. Where classes have unequal
            numbers of them, ``examples`` is the largest, and what is missing is NaN.
        class_names: one name for each class.
        groups: the group of each class. Data is split by group, never by image, so that
            a test class is not only new but of a new kind.
        split: the documented split, part to groups; ``split_groups()`` follows it.
        factors: known causes of each image, name to ``(classes, examples)``; may be empty.
        factor_names: for a factor of integer codes, what the codes stand for.
        counts: how many images each class has, where the numbers differ; else empty.
        passed_over: files of a folder that are no pictures, by name.
    """

    images: Tensor
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    split: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    factors: Mapping[str, Tensor] = field(default_factory=dict)
    factor_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    counts: tuple[int, ...] = ()
    passed_over: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        classes = self.images.shape[0]
        if self.images.ndim != 5 or {len(self.class_names), len(self.groups)} != {classes}:
            raise ValueError(
                f"images have shape {tuple(self.images.shape)}, with {len(self.class_names)} "
                f"names and {len(self.groups)} groups: expected (classes, examples, channels, "
                "h, w), and a name and a group for each class"
            )
        most = self.images.shape[1]
        if len(self.sizes) != classes or not all(0 < size <= most for size in self.sizes):
            raise ValueError(f"counts are {self.counts}: expected {classes} from 1 to {most}")

    def __repr__(self) -> str:
        n = " to ".join(str(size) for size in sorted({min(self.sizes), max(self.sizes)}))
        over = f", {len(self.passed_over)} files passed over" if self.passed_over else ""
        groups = len(self.group_names)
        return f"ClassImages({len(self)} classes x {n} examples, {groups} groups{over})"

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many images each class has."""
        return self.counts or (self.images.shape[1],) * len(self)

    def select(self, classes: Sequence[int]) -> Self:
        """Keep only the classes with these numbers, in this order."""
        index = torch.as_tensor(classes, device=self.images.device)
        return replace(
            self,
            images=self.images[index],
            class_names=tuple(self.class_names[i] for i in classes),
            groups=tuple(self.groups[i] for i in classes),
            factors={n: values[index.to(values.device)] for n, values in self.factors.items()},
            counts=tuple(self.counts[i] for i in classes) if self.counts else (),
        )

    def examples(self, start: int, stop: int) -> ClassImages:
        """Keep only the examples ``start .. stop - 1`` of each class; all must have them."""
        count = min(self.sizes)
        if not 0 <= start < stop <= count:
            raise ValueError(f"examples {start} to {stop}: expected a range within 0 to {count}")
        factors = {name: values[:, start:stop] for name, values in self.factors.items()}
        return replace(self, images=self.images[:, start:stop], factors=factors, counts=())

    def flatten(self) -> tuple[Tensor, Tensor]:
        """Return inputs ``(images, channels, h, w)`` and int64 labels, class by class."""
        sizes = torch.tensor(self.sizes, device=self.images.device)
        labels = torch.arange(len(self), device=self.images.device).repeat_interleave(sizes)
        if not self.counts:
            return self.images.flatten(0, 1), labels
        there = torch.arange(self.images.shape[1], device=sizes.device) < sizes.unsqueeze(1)
        return self.images[there], labels

    def rotated(self) -> ClassImages:
        """Add each class turned by 90, 180 and 270 degrees as three classes of its own."""
        turns = [self.images.rot90(k, (-2, -1)) for k in range(4)]
        return replace(
            self,
            images=torch.cat(turns),
            class_names=tuple(f"{n} at {90 * k}°" for k in range(4) for n in self.class_names),
            groups=4 * self.groups,
            factors={name: torch.cat([v] * 4) for name, v in self.factors.items()},
            counts=4 * self.counts,
        )

    def to(self, device: torch.device | str) -> ClassImages:
        """Return the same images on ``device``; the factors stay where they are."""
        return replace(self, images=self.images.to(device))

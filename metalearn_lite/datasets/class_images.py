"""Images by class, the classes by group: what every data set of the course is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassImages:
    """Images by class, the classes by group (script, alphabet).

    Attributes:
        images: ``(classes, examples, 1, h, w)``, float in [0, 1].
        class_names: one name for each class.
        groups: the group of each class. Data is split by group, never by image, so that
            a test class is not only new but of a new kind.
        split: the documented split, part to groups; ``split_groups()`` follows it.
        factors: known causes of each image, name to ``(classes, examples)``; may be empty.
        factor_names: for a factor of integer codes, what the codes stand for.
    """

    images: Tensor
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    split: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    factors: Mapping[str, Tensor] = field(default_factory=dict)
    factor_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        classes = self.images.shape[0]
        if self.images.ndim != 5 or {len(self.class_names), len(self.groups)} != {classes}:
            raise ValueError(
                f"images have shape {tuple(self.images.shape)}, with {len(self.class_names)} "
                f"names and {len(self.groups)} groups: expected (classes, examples, channels, "
                "h, w), and a name and a group for each class"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return (
            f"ClassImages({len(self)} classes x {self.images.shape[1]} examples, "
            f"{len(self.group_names)} groups)"
        )

    @property
    def group_names(self) -> tuple[str, ...]:
        """The groups, each once, in alphabetical order."""
        return tuple(sorted(set(self.groups)))

    def split_groups(self, *parts: Collection[str]) -> tuple[ClassImages, ...]:
        """Split by group.

        Args:
            *parts: the groups of each part; without any, the documented split, which for
                ``glyphs()`` and ``omniglot()`` begins with train and validation.

        Returns:
            One ``ClassImages`` a part.

        Raises:
            ValueError: if a group is unknown or in two parts, or a part is empty.
        """
        wanted = [*parts] or [*self.split.values()]
        if not wanted:
            raise ValueError(
                "these images have no documented split: name the groups of each part, "
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

    def select(self, classes: Sequence[int]) -> ClassImages:
        """Keep only the classes with these numbers, in this order."""
        index = torch.as_tensor(classes, device=self.images.device)
        return replace(
            self,
            images=self.images[index],
            class_names=tuple(self.class_names[i] for i in classes),
            groups=tuple(self.groups[i] for i in classes),
            factors={n: values[index.to(values.device)] for n, values in self.factors.items()},
        )

    def examples(self, start: int, stop: int) -> ClassImages:
        """Keep only the examples ``start .. stop - 1`` of each class."""
        count = self.images.shape[1]
        if not 0 <= start < stop <= count:
            raise ValueError(f"examples {start} to {stop}: expected a range within 0 to {count}")
        factors = {name: values[:, start:stop] for name, values in self.factors.items()}
        return replace(self, images=self.images[:, start:stop], factors=factors)

    def flatten(self) -> tuple[Tensor, Tensor]:
        """Return inputs ``(classes * examples, 1, h, w)`` and int64 labels, class by class."""
        labels = torch.arange(len(self), device=self.images.device)
        return self.images.flatten(0, 1), labels.repeat_interleave(self.images.shape[1])

    def rotated(self) -> ClassImages:
        """Add each class turned by 90, 180 and 270 degrees as three classes of its own."""
        turns = [self.images.rot90(k, (-2, -1)) for k in range(4)]
        return replace(
            self,
            images=torch.cat(turns),
            class_names=tuple(f"{n} at {90 * k}°" for k in range(4) for n in self.class_names),
            groups=4 * self.groups,
            factors={name: torch.cat([v] * 4) for name, v in self.factors.items()},
        )

    def to(self, device: torch.device | str) -> ClassImages:
        """Return the same images on ``device``; the factors stay where they are."""
        return replace(self, images=self.images.to(device))

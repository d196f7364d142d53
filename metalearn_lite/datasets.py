"""Images of many classes, a few of each: rendered glyphs, Omniglot, real digits.

All are ``ClassImages``: ``(classes, examples, 1, 28, 28)``, ink 1 on ground 0. What is
slow to make is cached in the folder named by the environment variable
``METALEARN_CACHE``, or else in ``~/.cache/metalearn_lite``; a damaged cache is remade.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from metalearn_lite import lookalikes, omniglot_archive, rendering, thinning
from metalearn_lite.checkpoint import load_checkpoint, save_checkpoint


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
            factors={name: values[index] for name, values in self.factors.items()},
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


def glyphs(*, seed: int = 0, examples: int = 20, deduplicate: bool = True) -> ClassImages:
    """Make the course's own characters, from the fonts that come inside matplotlib.

    Letters of many scripts, drawn in several font families and warped as if by hand.
    ``rendering.render_glyphs`` says how; the result is cached.

    Args:
        seed: draws the warps; the characters are the same for each seed.
        examples: images of each character.
        deduplicate: leave out characters that look like one of another script, so that
            no shape is on both sides of a split by script. Switch it off only to see why.

    Returns:
        Characters by script, with the split ``rendering.GLYPH_SPLIT`` and the factors
        that ``rendering.RenderedGlyphs`` names.
    """

    def make() -> dict[str, Any]:
        return vars(rendering.render_glyphs(seed=seed, examples=examples, deduplicate=deduplicate))

    code = [inspect.getsource(module) for module in (rendering, thinning, lookalikes)]
    version = (code, matplotlib.__version__, seed, examples, deduplicate)
    data = _cached("glyphs", version, make)
    return ClassImages(
        data["images"].unsqueeze(2).float() / 255,
        tuple(data["class_names"]),
        tuple(data["groups"]),
        rendering.GLYPH_SPLIT,
        data["factors"],
        {name: tuple(names) for name, names in data["factor_names"].items()},
    )


def omniglot(
    root: Path | str,
    download: bool = False,
    *,
    evaluation: bool = False,
    rotations: bool = False,
    complete: bool = True,
) -> ClassImages:
    """Read Omniglot, characters of 50 alphabets drawn by 20 people each.

    Args:
        root: a folder that holds ``images_background.zip``, or the tree
            ``images_background/<alphabet>/<character>/<drawing>.png``, or torchvision's
            ``omniglot-py`` folder with either. A zip is read without unpacking it.
        download: if nothing is there, fetch it through ``torchvision.datasets.Omniglot``,
            which checks the archive's md5. Needs a network.
        evaluation: read the evaluation set (20 alphabets) in place of the background set
            (30 alphabets).
        rotations: add each character turned by 90, 180 and 270 degrees as new classes, as
            proposed by Santoro et al. (2016) and done by Finn et al. (2017).
        complete: require all characters of the set, so that a half-copied folder does not
            pass unseen.

    Returns:
        Characters by alphabet, averaged down from 105 x 105 to 28 x 28 pixels. The
        background set's split has 25 alphabets to train on and, every sixth of the sorted
        names, 5 for validation.

    Raises:
        FileNotFoundError: if nothing is there and ``download`` is off.
        ValueError: if the archive is damaged, foreign or incomplete.

    Reference:
        Lake, Salakhutdinov and Tenenbaum (2015), "Human-level concept learning through
        probabilistic program induction".
    """
    part: omniglot_archive.Part = "images_evaluation" if evaluation else "images_background"
    source = omniglot_archive.find(Path(root), part, download=download)
    drawings = omniglot_archive.list_drawings(source, part, complete=complete)

    def make() -> dict[str, Any]:
        return {"images": omniglot_archive.read_drawings(source, drawings.files)}

    version = (inspect.getsource(omniglot_archive), drawings)
    flat = _cached(f"omniglot-{part}", version, make)["images"]
    images = flat.unflatten(0, (len(drawings.characters), -1))
    names = tuple(alphabet for alphabet, _ in drawings.characters)
    alphabets = sorted(set(names))
    held_out = tuple(alphabets[5::6])
    split = {"train": tuple(a for a in alphabets if a not in held_out), "validation": held_out}
    data = ClassImages(
        images.unsqueeze(2).float() / 255,
        tuple(f"{alphabet} {character}" for alphabet, character in drawings.characters),
        names,
        {} if evaluation or not held_out else split,
    )
    return data.rotated() if rotations else data


def digits() -> ClassImages:
    """Read scikit-learn's handwritten digits, a second real domain that needs no download.

    The 1,797 images of 8 x 8 pixels (Alpaydin and Kaynak, 1998) are enlarged to 24 x 24
    by bicubic interpolation and set in the middle of 28 x 28. Each class keeps as many
    images as the rarest has, the first 174 in the order of the file.

    Returns:
        10 classes x 174 examples, all of one group.
    """
    bunch = load_digits()
    small = torch.as_tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    large = F.interpolate(small, size=(24, 24), mode="bicubic", align_corners=False)
    images = F.pad(large.clamp(0, 1), (2, 2, 2, 2))
    labels = torch.as_tensor(bunch.target)
    count = int(labels.bincount().min())
    by_class = [images[labels == digit][:count] for digit in range(10)]
    return ClassImages(torch.stack(by_class), tuple("0123456789"), ("digits",) * 10)


def _cached(name: str, version: object, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Load ``name`` from the cache if it is whole and of this version; else make it."""
    key = hashlib.sha256(repr(version).encode()).hexdigest()[:16]
    folder = os.environ.get("METALEARN_CACHE") or Path.home() / ".cache" / "metalearn_lite"
    path = Path(folder) / f"{name}-{key}.zip"
    with contextlib.suppress(OSError, ValueError):  # none yet, or damaged
        return load_checkpoint(path)
    data = make()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs only time
        save_checkpoint(path, data, metadata={"version": key})
    return data

"""Find and read Omniglot's drawings in a zip file or a folder tree.

A zip is read where it is; nothing is unpacked, so no member can be written anywhere.
"""

import contextlib
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from metalearn_lite.checkpoint import DAMAGED_ZIP

Part = Literal["images_background", "images_evaluation"]
CHARACTERS: dict[Part, int] = {"images_background": 964, "images_evaluation": 659}
LEFT = ("thumbs.db", "desktop.ini")
_DRAWING = re.compile(r"(images_\w+)/([^/]+)/([^/]+)/[^/]+\.png")


@dataclass(frozen=True)
class Drawings:
    """What an archive holds.

    Attributes:
        characters: ``(alphabet, character)``, sorted.
        files: the drawings of the first character, then of the second, and so on.
        sizes: their sizes in bytes.
    """

    characters: tuple[tuple[str, str], ...]
    files: tuple[str, ...]
    sizes: tuple[int, ...]


def find(root: Path, part: Part, *, download: bool) -> Path:
    """Return the zip file or folder of ``part`` under ``root``, downloaded if allowed.

    Raises:
        FileNotFoundError: if there is none and ``download`` is off.
        OSError: if the download fails.
    """
    candidates = [root / part, root / f"{part}.zip"]
    candidates += [root / "omniglot-py" / path.name for path in candidates]
    for path in candidates:
        if path.exists():
            return path
    if not download:
        raise FileNotFoundError(
            f"no Omniglot under {root}: expected {part}.zip or the folder {part}, there or in "
            "omniglot-py; put one there, or call omniglot(root, download=True) with a network"
        )
    from torchvision.datasets import Omniglot  # slow to import, and needed only here

    try:
        Omniglot(str(root), background=part == "images_background", download=True)
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"Omniglot could not be downloaded to {root} ({error}): check the network, or put "
            f"{part}.zip there by hand"
        ) from error
    return root / "omniglot-py" / part


def list_drawings(source: Path, part: Part, *, complete: bool = True) -> Drawings:
    """List the drawings in ``source`` and check that they are Omniglot's.

    Raises:
        ValueError: if the archive is damaged, holds anything else, if characters differ in
            their number of drawings, or if ``complete`` and characters are missing.
    """
    sizes = dict(_listing(source))
    for name in sizes:
        match = _DRAWING.fullmatch(name)
        if match is None or match[1] != part or ".." in match.groups():
            raise ValueError(
                f"{source} holds {name!r}: expected only {part}/<alphabet>/<character>/"
                "<drawing>.png; it is not Omniglot"
            )
    files = tuple(sorted(sizes))
    counts = Counter((name.split("/")[1], name.split("/")[2]) for name in files)
    expected = CHARACTERS[part] if complete else max(1, len(counts))
    if len(counts) != expected or len(set(counts.values())) != 1:
        raise ValueError(
            f"{source} is incomplete: {len(counts)} characters, each with "
            f"{sorted(set(counts.values()))} drawings; expected {expected} characters with the "
            "same number of drawings; fetch it again"
        )
    return Drawings(tuple(counts), files, tuple(sizes[name] for name in files))


def read_drawings(source: Path, names: Sequence[str], *, size: int = 28) -> Tensor:
    """Read drawings and average them down to ``size`` x ``size`` pixels.

    Returns:
        ``(n, size, size)`` uint8, ink 255 on ground 0.

    Raises:
        ValueError: if a drawing cannot be read or has another size than the first.
    """
    small, shape = torch.empty(len(names), size, size, dtype=torch.uint8), None
    with _opened(source) as open_file:
        for i, name in enumerate(names):
            try:
                with open_file(name) as file, Image.open(file) as image:
                    ink = 255 - torch.from_numpy(np.array(image.convert("L"))).float()
            except (*DAMAGED_ZIP, UnidentifiedImageError, OSError, SyntaxError) as error:
                raise ValueError(
                    f"{name} in {source} cannot be read ({error}): fetch the archive again"
                ) from error
            shape = shape or ink.shape
            if ink.shape != shape:
                raise ValueError(
                    f"{name} in {source} has {tuple(ink.shape)} pixels and the first drawing "
                    f"{tuple(shape)}: expected the same; fetch the archive again"
                )
            small[i] = F.adaptive_avg_pool2d(ink[None], size)[0].round().to(torch.uint8)
    return small


def _listing(source: Path) -> Iterator[tuple[str, int]]:
    """Give the name and the size of each file; folders are left out."""
    if source.is_dir():
        for path in source.rglob("*"):
            if path.is_file() and not _left_by_a_system(path.relative_to(source).parts):
                yield path.relative_to(source.parent).as_posix(), path.stat().st_size
        return
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
    except DAMAGED_ZIP as error:
        raise ValueError(
            f"{source} is no whole zip file ({error}): delete it and fetch it again"
        ) from error
    for member in members:
        if not member.is_dir() and not _left_by_a_system(tuple(member.filename.split("/"))):
            yield member.filename, member.file_size


def _left_by_a_system(parts: tuple[str, ...]) -> bool:
    """Whether a file was put there by an operating system that showed or packed the folder."""
    return parts[0] == "__MACOSX" or parts[-1].startswith(".") or parts[-1].lower() in LEFT


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[Callable[[str], IO[bytes]]]:
    """Give a function that opens a drawing by name, in a folder or in a zip opened once."""
    if source.is_dir():
        yield lambda name: (source.parent / name).open("rb")
    else:
        with zipfile.ZipFile(source) as archive:
            yield archive.open

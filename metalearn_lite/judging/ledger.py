"""Write and read what a long run has measured: one entry a draw, so that differences pair.

A recipe in ``results/`` writes a ledger, a JSON file beside it, with how it was made
(command, versions, settings) and, for each draw (a seed of everything random), its numbers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from filelock import BaseFileLock, FileLock

import metalearn_lite
from metalearn_lite.checkpoint import write_atomically
from metalearn_lite.evaluation import Scores, paired_difference


@dataclass(frozen=True)
class Ledger:
    """Numbers of several draws, found by paths such as ``"few/400/shared"``.

    Attributes:
        draws: for each draw its numbers, in nested mappings.
        about: the command that made them, versions and settings.
    """

    draws: Sequence[Mapping[str, Any]]
    about: Mapping[str, Any]

    def entries(self, path: str) -> list[Any]:
        """Return what stands under ``path`` in each draw.

        Raises:
            ValueError: if a draw has no such entry.
        """
        found: list[Any] = list(self.draws)
        for key in path.split("/"):
            missing = [e for e in found if not isinstance(e, Mapping) or key not in e]
            if missing:
                known = sorted(missing[0]) if isinstance(missing[0], Mapping) else "no names"
                raise ValueError(f"got path {path!r}: found no {key!r}, expected one of {known}")
            found = [entry[key] for entry in found]
        return found

    def scores(self, path: str) -> Scores:
        """Summarise the numbers under ``path``, one a draw, with their 95 % interval.

        Of several numbers under a name, in a mapping or a list, the mean is taken.
        """
        return Scores.of([_mean(entry) for entry in self.entries(path)])

    def difference(self, path: str, other: str) -> Scores:
        """Summarise ``path`` minus ``other``, paired by draw."""
        return paired_difference(self.scores(path), self.scores(other))


def result_path(name: str) -> Path:
    """Return where a file or folder of ``results/`` lies, from whatever folder one asks.

    The ledgers and weights there are part of the installed package too, so that a chapter that
    is opened alone finds them.

    Args:
        name: below ``results/``, as in ``"maml_glyphs.json"``.

    Raises:
        FileNotFoundError: if nothing of that name is stored.
    """
    package = Path(metalearn_lite.__file__).parent
    folder = package / "results"  # of an installed package; in a clone it stands beside it
    if not folder.is_dir():
        folder = package.parent / "results"
    if not (folder / name).exists():
        known = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.[jz]*"))
        raise FileNotFoundError(
            f"got {name!r}: nothing of this name is stored, expected one of {', '.join(known)}"
        )
    return folder / name


def read_ledger(path: Path | str) -> Ledger:
    """Read a ledger.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the file is not a ledger.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        content = json.loads(text)
        draws = content.pop("draws")
        return Ledger([draws[key] for key in sorted(draws, key=int)], content)
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a ledger ({error!r}): expected a JSON object with 'draws', from number "
            "to results; the recipe beside it makes it anew"
        ) from error


def write_ledger(path: Path | str, content: Mapping[str, Any]) -> None:
    """Write a ledger as JSON; a run that is stopped leaves the old one or the new one."""
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())


Draw = TypeVar("Draw", int, str)


def fill_ledger(
    path: Path | str,
    draws: Iterable[Draw],
    begin: Callable[[], Mapping[str, Any]],
    measure: Callable[[Draw, Mapping[str, Any]], Mapping[str, Any]],
) -> None:
    """Measure the draws that a ledger lacks; each is written as soon as it is done.

    Args:
        path: the ledger; begun where there is none.
        draws: which draws it shall hold, by number; or other pieces of work, by name.
        begin: ``begin()`` says how the ledger is made, ``how_made`` and settings.
        measure: ``measure(draw, ledger)`` gives the numbers of a draw, in nested mappings;
            ``ledger`` is what the file holds so far. They are kept to five decimals.
    """
    path = Path(path)
    with _only_one(path):
        if not path.exists():
            write_ledger(path, {**begin(), "draws": {}})
    for draw in draws:
        ledger = json.loads(path.read_text(encoding="utf-8"))
        if str(draw) in ledger["draws"]:
            continue
        start = time.monotonic()
        result = round_floats(measure(draw, ledger))
        with _only_one(path):  # another process may write its draw
            ledger = json.loads(path.read_text(encoding="utf-8"))
            ledger["draws"][str(draw)] = result
            write_ledger(path, ledger)
        print(f"draw {draw}: {time.monotonic() - start:.0f} s", flush=True)


def _only_one(path: Path) -> BaseFileLock:
    """Return what lets the processes of a machine read, change and write a file in turn."""
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir()) / f"metalearn_lite-{name}.lock")


def round_floats(value: Any) -> Any:
    """Round every float in nested mappings and lists to five decimals."""
    if isinstance(value, Mapping):
        return {key: round_floats(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [round_floats(entry) for entry in value]
    return round(value, 5) if isinstance(value, float) else value


def recipe_parser(
    recipe: Path | str, about: str | None, draws: Iterable[int]
) -> argparse.ArgumentParser:
    """Return what reads the command line of a recipe: its draws, threads and ledger.

    Args:
        recipe: the script; its ledger lies beside it, under its name, unless ``--to`` says
            where.
        about: what ``--help`` prints, usually the script's ``__doc__``.
        draws: those of the stored ledger.
    """
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, formatter_class=text)
    parser.add_argument("--draws", type=int, nargs="+", default=list(draws))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--to", type=Path, default=Path(recipe).with_suffix(".json"))
    return parser


def how_made(command: str) -> dict[str, Any]:
    """Return what a ledger says of its making: the command, commit, versions and hardware."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {
        "command": command,
        "commit": commit_of(Path(metalearn_lite.__file__).parent),
        "versions": {**versions, "metalearn_lite": metalearn_lite.__version__},
        "hardware": f"{platform.machine()} processor, {torch.get_num_threads()} thread(s)",
    }


def commit_of(folder: Path) -> str:
    """Return the commit of the code in ``folder``, or "unknown" where git does not know it.

    A "+" behind it says that the code was changed since.
    """
    asked = []
    for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."]):
        try:
            git = ["git", "-C", str(folder), *command]
            done = subprocess.run(git, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
        if done.returncode:
            return "unknown"
        asked.append(done.stdout.strip())
    commit, changes = asked
    return commit[:12] + ("+" if changes else "")


def _mean(entry: Any) -> float:
    if isinstance(entry, Mapping):
        return _mean(list(entry.values()))
    if isinstance(entry, list):
        return sum(_mean(part) for part in entry) / len(entry)
    return float(entry)

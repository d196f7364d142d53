"""Install the course from this folder, without a network.

    python3 install.py [FOLDER]        (on Windows: py install.py [FOLDER])

It needs nothing but Python, of a version that this bundle holds wheels for. Everything goes
into FOLDER, which must not exist yet; nothing else on the machine is changed.
"""

# `make bundle` copies this file into the bundle as install.py. It also runs on a Python that is
# too old for the course, as far as the message that says so.
from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TARGET = Path.home() / "learning-from-few-examples"
SUMS = "SHA256SUMS"
PARTS = ("course", "book", "slides", "assignments")  # copied, so that they can be written to
# what systems put on a stick by themselves
JUNK = {".DS_Store", ".Spotlight-V100", ".Trashes", ".fseventsd", "lost+found", "$RECYCLE.BIN"}
JUNK |= {"System Volume Information", "Thumbs.db", "desktop.ini", "__pycache__"}
FIRST_STEP = """
import torch
from metalearn_lite.tasks import SineTasks
episode = SineTasks(shots=5, queries=10).sample(torch.Generator().manual_seed(0))
print("An episode is drawn:", len(episode.support_x), "points to learn from,",
      len(episode.query_x), "to be judged on.")
"""


def kind() -> dict[str, str]:
    """Tell which wheels fit here: the version of Python, the system, the kind of processor."""
    version = "{}.{}".format(*sys.version_info)
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        version += "t"
    machine = platform.machine()
    if os.name == "nt":  # a Python for another processor than the machine's can run there
        machine = sysconfig.get_platform().split("-")[-1]
    return {"python": version, "system": platform.system(), "machine": machine}


def words(kind: dict[str, str]) -> str:
    system = {"Darwin": "macOS"}.get(kind["system"], kind["system"])
    return f"Python {kind['python']} on {system} ({kind['machine']})"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces of 1 MB."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            sha.update(piece)
    return sha.hexdigest()


def pins_digest(requirements: Path) -> str:
    """Return the SHA-256 of the pins, whichever ends of lines a system has given them."""
    return hashlib.sha256(requirements.read_text(encoding="utf-8").encode()).hexdigest()


def names(bundle: Path) -> set[str]:
    """Return what lies in the bundle, SHA256SUMS itself and what systems add apart."""
    found = set()
    for folder, folders, files in os.walk(bundle):
        folders[:] = [name for name in folders if name not in JUNK]
        for name in files:
            if name not in JUNK and not name.startswith("._"):
                found.add((Path(folder) / name).relative_to(bundle).as_posix())
    return found - {SUMS}


def listed(bundle: Path) -> dict[str, str]:
    """Read SHA256SUMS: the digest by the name of the file."""
    try:
        lines = (bundle / SUMS).read_text(encoding="utf-8").splitlines()
        return {name: sha for sha, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise SystemExit(
            f"{bundle / SUMS} cannot be read ({error}): the bundle is damaged or was not "
            "finished. Copy the whole folder again."
        ) from error


def faults(
    bundle: Path, concerns: Callable[[str], bool] = lambda name: True
) -> list[tuple[str, str]]:
    """Compare the bundle with its SHA256SUMS, and return pairs of fault and name."""
    sums, there = listed(bundle), names(bundle)
    found = [("extra", name) for name in there - set(sums) if concerns(name)]
    for name in filter(concerns, sums):
        if name not in there:
            found.append(("missing", name))
        elif digest(bundle / name) != sums[name]:
            found.append(("damaged", name))
    return sorted(found)


def verify(bundle: Path) -> None:
    """Stop if a file is not as it was made. The wheels of other kinds of machine can lack."""
    theirs = [folder for fits, folder in kinds(bundle).items() if fits != words(kind())]

    def concerns(name: str) -> bool:
        return not (name.endswith(".whl") and (bundle / name).parent in theirs)

    found = faults(bundle, concerns)
    if found:
        lines = [f"  {fault}: {name}" for fault, name in found]
        raise SystemExit(
            "This bundle is not as it was made, and nothing was installed:\n"
            + "\n".join(lines[:20] + ["  ..."] * (len(lines) > 20))
            + "\nCopy what is damaged or missing again, from the teacher's bundle; delete what "
            "is extra.\nThen run install.py again."
        )


def manifest(wheels: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((wheels / "manifest.json").read_text(encoding="utf-8"))
    return stored


def kinds(bundle: Path) -> dict[str, Path]:
    """Return the folders of wheels by what they fit, in words."""
    found = {}
    for path in sorted((bundle / "wheels").glob("*/manifest.json")):
        try:
            found[words(manifest(path.parent)["kind"])] = path.parent
        except (ValueError, KeyError):  # verify() names it as damaged
            continue
    return found


def fitting(bundle: Path) -> Path:
    """Return the folder of wheels that fits this machine and this Python, or stop."""
    here, there = words(kind()), kinds(bundle)
    if here not in there:
        raise SystemExit(
            f"Nothing was installed. This is\n  {here}\nbut this bundle is for\n  "
            + "\n  ".join(there)
            + "\nRun install.py with one of these, or ask for a bundle to which `make bundle` "
            "on a machine\nlike yours has added its wheels."
        )
    wheels = there[here]
    if manifest(wheels)["pins"] != pins_digest(bundle / "course" / "requirements.txt"):
        raise SystemExit(
            f"Nothing was installed: {wheels} holds the wheels of an earlier course. Run "
            "`make bundle` again on the machine that made them."
        )
    return wheels


def check_target(target: Path, needed: int) -> None:
    """Stop if the folder exists, lies in the bundle, or has too little room (bytes)."""
    if target.exists():
        raise SystemExit(
            f"{target} exists already; it was left as it is, and nothing was installed. Name a "
            "folder that does not exist yet (install.py FOLDER), or move this one away."
        )
    if target == HERE or HERE in target.parents:
        raise SystemExit(f"{target} lies in the bundle: name a folder outside {HERE}.")
    above = next(folder for folder in target.parents if folder.exists())
    free = shutil.disk_usage(above).free
    if free < needed:
        raise SystemExit(
            f"Nothing was installed: {above} has {free / 1e9:.1f} GB free, and "
            f"{needed / 1e9:.1f} GB are needed. Make room, or name a folder on another disk."
        )


def clean_environment() -> dict[str, str]:
    """Return the environment without any setting of pip: indexes, constraints, targets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}


def pip_install(python: Path, bundle: Path, wheels: Path) -> list[str]:
    """Return the command that installs the course from these wheels alone.

    It is given by the pip of the bundle, which runs from its wheel. Modules are compiled when
    they are first imported: compiling all of them takes longer than everything else.
    """
    pip = next(iter(sorted(wheels.glob("pip-*.whl"))), wheels / "pip-none.whl") / "pip"
    options = ["--no-index", "--only-binary", ":all:", "--no-cache-dir", "--ignore-installed"]
    options += ["--disable-pip-version-check", "--no-warn-script-location", "--no-compile"]
    sources = ["--find-links", str(wheels), "--find-links", str(bundle / "wheels")]
    pins = ["-r", str(bundle / "course" / "requirements.txt"), "pip", "metalearn-lite"]
    return [str(python), str(pip), "install", "-qq", *options, *sources, *pins]


def scripts(target: Path) -> Path:
    return target / "environment" / ("Scripts" if os.name == "nt" else "bin")


def fill(target: Path, wheels: Path) -> None:
    """Make the environment in ``target``, and copy there what is read and worked on."""
    venv.create(target / "environment", symlinks=os.name != "nt", with_pip=False)
    python = scripts(target) / ("python.exe" if os.name == "nt" else "python")
    command = pip_install(python, HERE, wheels)
    if subprocess.run(command, env=clean_environment()).returncode:
        raise SystemExit(
            "pip could not install the wheels: see above. If it finds none that fits, this "
            "system is\nolder than the one they were made for."
        )
    for part in PARTS:
        if (HERE / part).exists():
            shutil.copytree(HERE / part, target / part)
    if subprocess.run([str(python), "-c", FIRST_STEP], cwd=target).returncode:
        raise SystemExit("The course does not run here: see above.")


def install(target: Path) -> None:
    print("Comparing the files with their checksums ...", flush=True)
    verify(HERE)
    wheels = fitting(HERE)
    check_target(target, manifest(wheels)["installed_bytes"])
    print(f"Installing into {target}; this takes some minutes ...", flush=True)
    try:
        fill(target, wheels)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        print(f"\n{target} was removed again.", file=sys.stderr)
        raise
    print(
        f"\nThe course is installed, and this folder is no longer needed. Type next:\n\n"
        f'  cd "{target / "course"}"\n'
        f"  {os.path.relpath(scripts(target), target / 'course')}{os.sep}jupyter lab chapters\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=TARGET, help=f"default: {TARGET}")
    install(Path(os.path.abspath(parser.parse_args().folder.expanduser())))

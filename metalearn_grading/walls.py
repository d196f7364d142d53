"""Walls around a process that runs what strangers wrote: it sees little, and reaches nothing.

On Linux, ``unshare`` gives it a world of its own: no network, no other process, and of the files
those of Python and of this package alone, which it cannot write; an empty folder of 64 MB is its
place. As root the process becomes nobody; otherwise the system must allow namespaces to
everybody. Where there is none of this, only the limits remain, and ``have_walls`` says so.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import metalearn_lite

PLACE = "/place"
PACKAGES = [Path(metalearn_lite.__file__ or "").resolve().parent, Path(__file__).resolve().parent]
LIMITS = {"nproc": 256, "fsize": 64 * 2**20, "nofile": 1024, "core": 0}
BUILD = Path(__file__).with_name("walls.sh").read_text(encoding="utf-8")


def behind_walls(command: list[str], *, root: Path, shown: list[Path]) -> list[str]:
    """Return a command that runs another one behind walls, or within limits alone.

    Args:
        command: what to run.
        root: an empty folder, on which the new world is built.
        shown: files and folders that it may read, besides Python and this package.
    """
    limits = [f"--{kind}={most}" for kind, most in LIMITS.items()]
    if not have_walls():
        return ["prlimit", *limits[1:], *command] if shutil.which("prlimit") else command
    return _walled(["prlimit", *limits, *command], root, shown)


@functools.cache
def have_walls() -> bool:
    """Say whether this system lets us build them: by building some."""
    if sys.platform != "linux" or not all(map(shutil.which, ("unshare", "setpriv", "prlimit"))):
        return False
    with tempfile.TemporaryDirectory() as root:
        command = _walled([sys.executable, "-c", ""], Path(root), [])
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _walled(command: list[str], root: Path, shown: list[Path]) -> list[str]:
    """Write the command: new namespaces, the new root, no rights, and then the command."""
    as_root = os.geteuid() == 0
    world = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
    nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"] if as_root else []
    rights = ["setpriv", *nobody, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    folders = [str(path) for path in (*_needed(), *shown) if path.exists() or path.is_symlink()]
    return [
        *("unshare", *world, *([] if as_root else ["--user", "--map-root-user"]), "--"),
        *("sh", "-c", BUILD, "walls", str(root), *folders, "--", *rights, *command),
    ]


def _needed() -> list[Path]:
    """List what Python and the package need: no folder within another one that is listed."""
    system = [*map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache"))]
    python = [Path(prefix) for prefix in {sys.base_prefix, sys.prefix}]
    apart = [path for path in (*python, *PACKAGES) if not _inside(path, system)]
    return system + [path for path in apart if not _inside(path, [p for p in apart if p != path])]


def _inside(path: Path, folders: list[Path]) -> bool:
    return any(folder in path.resolve().parents for folder in folders)


def environment(**more: str) -> dict[str, str]:
    """Return what the process may know of its surroundings."""
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(str(path.parent) for path in PACKAGES)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "LANG": "C.UTF-8",
        **more,
    }

"""Run the tests of the package with the oldest versions it supports, or with the newest there are.

    python tools/try_versions.py oldest|newest [arguments of pytest ...]

What pyproject.toml asks for is installed at its lower bounds, or as new as it exists, into an
environment of its own (.venv-oldest, .venv-newest); what only the tests use is as new as fits.
Needs a network, and gigabytes for what PyTorch brings.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESOLUTION = {"oldest": "lowest-direct", "newest": "highest"}
TESTS = ["hatchling", "editables", "hypothesis", "nbclient", "nbformat", "ipykernel", "packaging"]
TESTS += ["myst-nb", "psutil", "pytest", "pytest-xdist", "pyyaml"]
ELSEWHERE = ["tests/book", "tests/assignments", "tests/tools"]  # they test no code of the package


def uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], cwd=ROOT, check=True)


def main(which: str, options: list[str]) -> int:
    environment = ROOT / f".venv-{which}"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        uv("venv", "--python", sys.executable, str(environment))
    pins = environment / "requirements.txt"
    choice = ("--resolution", RESOLUTION[which], "--upgrade", "--no-header", "--no-annotate")
    uv("pip", "compile", "pyproject.toml", "--extra", "all", *choice, "-o", str(pins))
    install = ("pip", "install", "--python", str(python))
    uv(*install, "-r", str(pins), *TESTS)
    uv(*install, "--no-deps", "--no-build-isolation", "-e", ".")
    direct = [line for line in pins.read_text(encoding="utf-8").split() if line.startswith("torch")]
    print(f"{which}: {', '.join(direct)}; all are in {pins.relative_to(ROOT)}", flush=True)
    skipped = [f"--ignore={folder}" for folder in ELSEWHERE]
    # an old library on a new one that it did not know says so: that is no fault of the course
    quiet = ["-W", "ignore::DeprecationWarning"] if which == "oldest" else []
    command = [str(python), "-m", "pytest", "-q", "-n", "auto", *quiet, *skipped, *options]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in RESOLUTION:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))

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
TESTS += ["psutil", "pytest", "pytest-xdist", "pyyaml"]
ELSEWHERE = ["tests/book", "tests/assignments", "tests/tools"]  # they test no code of the package


def uv(*arguments: str, environment: Path | None = None) -> None:
    command = [sys.executable, "-m", "uv", "--quiet", *arguments]
    settings = {"VIRTUAL_ENV": str(environment)} if environment else {}
    subprocess.run(command, cwd=ROOT, env=os.environ | settings, check=True)


def main(which: str, options: list[str]) -> int:
    environment = ROOT / f".venv-{which}"
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        uv("venv", "--python", sys.executable, str(environment))
    pins = environment / "requirements.txt"
    uv("pip", "compile", "pyproject.toml", "--extra", "all", "--upgrade", "-o", str(pins),
       "--resolution", RESOLUTION[which], "--no-header", "--no-annotate")  # fmt: skip
    uv("pip", "install", "-r", str(pins), *TESTS, environment=environment)
    uv("pip", "install", "--no-deps", "--no-build-isolation", "-e", ".", environment=environment)
    direct = [line for line in pins.read_text(encoding="utf-8").split() if line.startswith("torch")]
    print(f"{which}: {', '.join(direct)}, and the rest in {pins.relative_to(ROOT)}", flush=True)
    skipped = [f"--ignore={folder}" for folder in ELSEWHERE]
    command = [str(python), "-m", "pytest", "-q", "-n", "auto", *skipped, *options]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in RESOLUTION:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))

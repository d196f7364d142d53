"""Make the decks of slides from the chapters as they are stored, into _build/slides.

No chapter is run. A placeholder for which the chapters have nothing stops the build.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SLIDES = ROOT / "slides"


def build(source: Path, target: Path) -> int:
    """Build the decks of a folder anew; 0 if there was nothing to complain about."""
    shutil.rmtree(target, ignore_errors=True)
    sphinx = [sys.executable, "-m", "sphinx", "-b", "revealjs", "-c", str(SLIDES), "-q", "-E", "-n"]
    # -W: warnings are errors; --keep-going: all of them are shown
    options = ["-W", "--keep-going", "-d", str(target / ".doctrees"), str(source), str(target)]
    status = subprocess.run([*sphinx, *options]).returncode
    shutil.rmtree(target / ".doctrees", ignore_errors=True)
    return status


def main() -> int:
    target = ROOT / "_build" / "slides"
    if build(SLIDES, target):
        shutil.rmtree(target, ignore_errors=True)  # no deck rather than one with holes
        print("The slides were not built: see the warnings above.", file=sys.stderr)
        return 1
    print(f"The slides are built. Open {target / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Execute the chapters that changed and build the book into _build/html.

A chapter is executed again when its code changed, and every chapter when the package, a
ledger in results/ or the pinned versions did: the outputs kept from the last build then no
longer tell what the code does. What the check of the chapters ran is not executed again.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "_build"


def fingerprint() -> str:
    digest = hashlib.sha256(sys.version.encode())
    sources = [p for p in (ROOT / "metalearn_lite").rglob("*") if p.suffix != ".pyc"]
    measured = [p for p in (ROOT / "results").rglob("*") if p.suffix in (".json", ".zip")]
    for path in sorted([*sources, *measured, ROOT / "requirements.txt"]):
        if path.is_file():
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


def forget(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def forget_if_stale() -> None:
    """Forget what was executed with another package, other ledgers or other versions."""
    stamp = BUILD / "package.sha256"
    if not stamp.exists() or stamp.read_text() != fingerprint():
        forget(BUILD / ".jupyter_cache", BUILD / "executed", BUILD / ".doctrees")
        BUILD.mkdir(exist_ok=True)
        stamp.write_text(fingerprint())


def hosted(config: dict[str, Any]) -> dict[str, Any]:
    """Add what a published course shows: where it is, and where it can be run and mended."""
    url = config["repository"]["url"]
    buttons = ("use_repository_button", "use_edit_page_button", "use_issues_button")
    config["html"] |= dict.fromkeys(buttons, True)
    config["launch_buttons"] = {
        "colab_url": "https://colab.research.google.com",
        "binderhub_url": "https://mybinder.org",
    }
    config["parse"]["myst_substitutions"]["address"] = f", <{url}>"
    local = config["sphinx"]["local_extensions"]  # from where this configuration is written to
    config["sphinx"]["local_extensions"] = {name: str(ROOT / local[name]) for name in local}
    return config


def configuration() -> Path:
    """Return the configuration to build with, completed if the course is hosted."""
    path = ROOT / "_config.yml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if config["repository"]["url"]:
        path = BUILD / "_config.yml"
        path.write_text(yaml.safe_dump(hosted(config)), encoding="utf-8")
    return path


def main() -> int:
    forget_if_stale()
    chapters = ROOT / "chapters"
    tool = [ROOT / "tools" / "execute_chapters.py", BUILD / ".jupyter_cache", BUILD / "executed"]
    subprocess.run([sys.executable, *tool, *sorted(chapters.glob("*.ipynb"))], cwd=chapters)
    # -W: warnings are errors; -n: so are references to what does not exist
    options = ["build", str(ROOT), "-W", "-n", "--keep-going", "--config", str(configuration())]
    command = [sys.executable, str(ROOT / "tools" / "jupyter_book_offline.py"), *options]
    status = subprocess.run(command, cwd=chapters).returncode  # where the kernels run
    if status or not (BUILD / "html" / "index.html").exists():
        # Sphinx warns of a page only when it reads it: it must read it again next time
        forget(BUILD / ".doctrees")
        print("The book was not built: see the warnings above.", file=sys.stderr)
        return 1
    print(f"The book is built. Open {BUILD / 'html' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

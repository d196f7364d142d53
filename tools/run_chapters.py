"""Execute chapters from top to bottom in place, and write their run times where they stand.

    python tools/run_chapters.py [chapters/NAME.ipynb ...]

Each is run in a new kernel. The time it took, rounded up to five seconds, and its peak
memory go into the chapter's "Before you start" and into the table of README.md. Run it on
an idle machine.
"""

import math
import re
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


class MemoryWatch(threading.Thread):
    """Remember the largest memory of all processes below this one, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.done = 0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.2):
            total = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)


def execute(path: Path) -> tuple[float, float]:
    """Run one chapter; return seconds and gigabytes."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    client = NotebookClient(
        notebook,
        timeout=180,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        store_widget_state=False,
    )
    watch = MemoryWatch()
    watch.start()
    start = time.monotonic()
    client.execute()
    seconds = time.monotonic() - start
    watch.done.set()
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    drop_passing_outputs(notebook)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = write_time(cell.source, seconds)
    nbformat.write(notebook, path)
    return seconds, watch.peak / 2**30


def drop_passing_outputs(notebook: nbformat.NotebookNode) -> None:
    """Leave out what means nothing in a stored notebook: live widgets and progress bars."""
    for cell in notebook.cells:
        if "remove-stderr" in cell.metadata.get("tags", []):
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def rounded(seconds: float) -> int:
    return max(5, 5 * math.ceil(seconds / 5))


def write_time(text: str, seconds: float) -> str:
    return re.sub(r"about \d+ seconds on two", f"about {rounded(seconds)} seconds on two", text)


def write_readme(path: Path, seconds: float, gigabytes: float) -> None:
    readme = ROOT / "README.md"
    link = re.escape(f"({path.relative_to(ROOT).as_posix()})")
    row = re.compile(rf"^(\| [^|]*{link} \| [^|]* \|).*\|$", re.MULTILINE)  # name, question
    cells = rf"\1 {rounded(seconds)} s, {gigabytes:.1f} GB |"
    text, found = row.subn(cells, readme.read_text(encoding="utf-8"))
    if found != 1:
        raise SystemExit(f"README.md has {found} table rows for {path.name}: expected one")
    readme.write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> None:
    paths = [Path(a).resolve() for a in arguments] or sorted((ROOT / "chapters").glob("*.ipynb"))
    for path in paths:
        seconds, gigabytes = execute(path)
        write_readme(path, seconds, gigabytes)
        print(f"{path.name}: {seconds:.0f} s, {gigabytes:.1f} GB")


if __name__ == "__main__":
    main(sys.argv[1:])

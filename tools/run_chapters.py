"""Execute chapters from top to bottom in place, and write their run times where they stand.

    python tools/run_chapters.py [--keep-times] [--jobs N] [chapters/NAME.ipynb ...]

Each is run in a new kernel. The time it took, rounded up to five seconds, and its peak
memory go into the chapter's "Before you start" and into the table of README.md, so run it on
an idle machine. With --keep-times nothing is written there, and nothing either with --jobs,
which runs N at a time with one thread each.
"""

import argparse
import math
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self

import chapter_kernel
import nbformat
import psutil

ROOT = Path(__file__).resolve().parents[1]
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# the same on every machine; without the ending, nbconvert writes scripts that have none
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}
METADATA = {"kernelspec": KERNEL, "language_info": LANGUAGE}
TIMEOUT = 180  # seconds a cell


class MemoryWatch(threading.Thread):
    """Remember the largest memory of all processes below this one, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.done = 0, threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()

    def run(self) -> None:
        while not self.done.wait(0.2):
            total = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)


def execute(path: Path, *, keep_times: bool) -> tuple[float, float]:
    """Run one chapter; return seconds, and gigabytes of all that run now."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    with MemoryWatch() as watch:
        seconds = chapter_kernel.execute(
            notebook, path.parent, timeout=TIMEOUT, store_widget_state=False
        )
    notebook.metadata = nbformat.from_dict(METADATA)
    drop_passing_outputs(notebook)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and not keep_times:
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


def run_all(paths: list[Path], *, keep_times: bool, jobs: int) -> None:
    if jobs > 1:
        os.environ["OMP_NUM_THREADS"] = "1"  # of the kernels
    run = partial(execute, keep_times=keep_times)
    with ThreadPoolExecutor(jobs) as pool:  # which begins with the next before the last is seen
        runs = map(run, paths) if jobs == 1 else pool.map(run, paths)
        for path, (seconds, gigabytes) in zip(paths, runs, strict=True):
            if not keep_times:
                write_readme(path, seconds, gigabytes)
            memory = f", {gigabytes:.1f} GB" if jobs == 1 else ""
            print(f"{path.name}: {seconds:.0f} s{memory}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", type=Path, help="default: all")
    parser.add_argument("--keep-times", action="store_true", help="write no run times")
    parser.add_argument("--jobs", type=int, default=1, help="chapters at a time; no run times")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs is {options.jobs}: expected 1 or more")
    paths = [path.resolve() for path in options.chapters]
    run_all(
        paths or sorted((ROOT / "chapters").glob("*.ipynb")),
        keep_times=options.keep_times or options.jobs > 1,
        jobs=options.jobs,
    )


if __name__ == "__main__":
    main()

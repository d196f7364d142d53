"""Execute the chapters that the cache does not hold yet, two at a time, one thread each.

    python tools/execute_chapters.py CACHE KEPT chapters/NAME.ipynb ...

What the check of the chapters ran lies in the folder KEPT (keep_executed.py) and is taken from
there. A file that holds other code than its chapter does no harm: the cache looks for code.

Networks as small as those of the course gain little from a second thread, so two chapters
side by side take less time than one after the other. A chapter that fails is left out of the
cache: the build then meets it again, and says what is wrong.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chapter_kernel
import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.cache.main import JupyterCacheBase
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbformat import NotebookNode

AT_ONCE, TIMEOUT = 2, 240  # seconds a cell


def execute(path: Path) -> tuple[NotebookNode, float | None]:
    """Run one chapter in its folder; return it with the seconds it took, None if it failed."""
    notebook = nbformat.read(path, as_version=4)
    try:
        seconds = chapter_kernel.execute(
            notebook, path.parent, timeout=TIMEOUT, store_widget_state=True
        )
    except (CellControlSignal, DeadKernelError):  # a cell raised, took too long, or took all memory
        return notebook, None
    return notebook, seconds


def store(cache: JupyterCacheBase, path: Path, notebook: NotebookNode, seconds: float) -> None:
    record = cache.add_nb_to_project(str(path))
    bundle = CacheBundleIn(notebook, record.uri, data={"execution_seconds": seconds})
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def take(cache: JupyterCacheBase, kept: Path, paths: list[Path]) -> None:
    """Move what nbval ran of these chapters into the cache."""
    for path in paths:
        if (kept / path.name).exists():
            notebook = nbformat.read(kept / path.name, as_version=4)
            store(cache, path, notebook, notebook.metadata.pop("seconds"))
            (kept / path.name).unlink()


def missing(cache: JupyterCacheBase, paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        try:
            cache.match_cache_notebook(nbformat.read(path, as_version=4))
        except KeyError:
            yield path


def main(folder: str, kept: str, *chapters: str) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # of the kernels
    cache, paths = get_cache(folder), [Path(chapter).resolve() for chapter in chapters]
    take(cache, Path(kept), paths)
    todo = list(missing(cache, paths))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for path, (notebook, seconds) in zip(todo, pool.map(execute, todo), strict=True):
            print(f"{path.name}: {'failed' if seconds is None else f'{seconds:.0f} s'}", flush=True)
            if seconds is not None:
                store(cache, path, notebook, seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])

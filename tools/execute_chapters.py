"""Execute the chapters that the cache does not hold yet, two at a time, one thread each.

    python tools/execute_chapters.py CACHE KEPT chapters/NAME.ipynb ...

What the check of the chapters ran lies in the folder KEPT (keep_executed.py) and is taken from
there. A file that holds other code than its chapter does no harm: the cache looks for code.

Networks as small as those of the course gain little from a second thread, so two chapters
side by side take less time than one after the other. A chapter that fails is left out of the
cache: the build then meets it again, and says what is wrong.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.cache.main import JupyterCacheBase
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode

AT_ONCE, TIMEOUT = 2, 240  # seconds a cell


def execute(path: Path) -> ExecutionResult:
    """Run one chapter in its folder, with a kernel that is spoken to through files."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as files:
        private = {"transport": "ipc", "ip": f"{files}/kernel"} if os.name == "posix" else {}
        kernel = AsyncKernelManager(kernel_name=notebook.metadata.kernelspec.name, **private)
        try:
            return single_nb_execution(
                notebook, cwd=str(path.parent), timeout=TIMEOUT, allow_errors=False, km=kernel
            )
        finally:
            asyncio.run(kernel.shutdown_kernel(now=True))


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
        for path, result in zip(todo, pool.map(execute, todo), strict=True):
            print(f"{path.name}: {'failed' if result.err else f'{result.time:.0f} s'}", flush=True)
            if result.err is None:
                store(cache, path, result.nb, result.time)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Execute the chapters that the cache does not hold yet, two at a time, one thread each.

    python tools/execute_chapters.py CACHE chapters/NAME.ipynb ...

Networks as small as those of the course gain little from a second thread, so two chapters
side by side take less time than one after the other. A chapter that fails is left out of the
cache: the build then meets it again, and says what is wrong.
"""

import asyncio
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution
from jupyter_client.manager import AsyncKernelManager

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


def main(folder: str, *chapters: str) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # of the kernels
    cache = get_cache(folder)
    missing = []
    for path in map(Path, chapters):
        try:
            cache.match_cache_notebook(nbformat.read(path, as_version=4))
        except KeyError:
            missing.append(path.resolve())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for path, result in zip(missing, pool.map(execute, missing), strict=True):
            print(f"{path.name}: {'failed' if result.err else f'{result.time:.0f} s'}", flush=True)
            if result.err is None:
                record = cache.add_nb_to_project(str(path))
                data = {"execution_seconds": result.time}
                bundle = CacheBundleIn(result.nb, record.uri, data=data)
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

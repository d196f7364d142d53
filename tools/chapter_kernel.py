"""Run a chapter in a kernel of its own, for the cache of the build as for the stored chapters."""

import os
import tempfile
import time
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

LONGEST = 90  # bytes of a folder's name: with "/kernel-5" a socket may have 103 on macOS


def execute(
    notebook: NotebookNode, folder: Path, *, timeout: int, store_widget_state: bool
) -> float:
    """Fill in the outputs of a notebook, and return the seconds that it took.

    The kernel is spoken to through files where the system can: that works with every network
    interface off, the loopback too, and no other user can listen. Where temporary files have too
    long a name for it, the loopback is taken.

    Args:
        notebook: its outputs are replaced.
        folder: where the kernel works.
        timeout: how many seconds a cell may take.
        store_widget_state: keep what a page needs to show the widgets.

    Raises:
        CellExecutionError: if a cell raises.
        CellTimeoutError: if a cell takes too long.
    """
    with tempfile.TemporaryDirectory() as files:
        fits = os.name == "posix" and len(os.fsencode(files)) <= LONGEST
        private = {"transport": "ipc", "ip": f"{files}/kernel"} if fits else {}
        client = NotebookClient(
            notebook,
            AsyncKernelManager(kernel_name=notebook.metadata.kernelspec.name, **private),
            timeout=timeout,
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            store_widget_state=store_widget_state,
            shutdown_kernel="immediate",
        )
        start = time.monotonic()
        client.execute(cleanup_kc=True)
        return time.monotonic() - start

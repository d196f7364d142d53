"""Keep what is slow to make: a folder of checkpoints, each under a name that tells its version.

The folder is named by the environment variable ``METALEARN_CACHE``, or else it is
``~/.cache/metalearn_lite``. A damaged file is made anew.
"""

import ast
import contextlib
import hashlib
import inspect
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from metalearn_lite.checkpoint import load_checkpoint, save_checkpoint


def cached(name: str, version: object, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Load ``name`` from the cache if it is whole and of this version; else make it.

    Args:
        name: the first part of the file's name.
        version: whatever the data depends on; its ``repr`` is digested.
        make: returns tensors and plain values by name.
    """
    key = hashlib.sha256(repr(version).encode()).hexdigest()[:16]
    path = folder() / f"{name}-{key}.zip"
    with contextlib.suppress(OSError, ValueError):  # none yet, or damaged
        return load_checkpoint(path)
    data = make()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs only time
        save_checkpoint(path, data, metadata={"version": key})
    return data


def folder() -> Path:
    """Return where the cache lies; without a home it is beside other temporary files."""
    named = os.environ.get("METALEARN_CACHE")
    try:
        return Path(named).expanduser() if named else Path.home() / ".cache" / "metalearn_lite"
    except RuntimeError:  # nobody knows a home
        return Path(tempfile.gettempdir()) / "metalearn_lite"


def code_of(module: ModuleType) -> str:
    """Return what a module does, without its comments, docstrings and layout.

    As part of a version it makes the data anew when the code changes, and only then.
    """
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.dump(tree)

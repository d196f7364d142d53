"""The recipes of the long runs, as modules."""

import importlib
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[2] / "results"


def load_recipe(name):
    """Import a recipe; one may import another that stands beside it."""
    if str(RESULTS) not in sys.path:
        sys.path.append(str(RESULTS))
    return importlib.import_module(name)

"""Small, tested functions for transfer, multi-task and meta-learning in PyTorch.

Import what you need from its module, for example
``from metalearn_lite.tasks import ImageTasks``. Importing the package alone is cheap: it
does not load PyTorch. It only makes sure that torchvision will import beside a CPU build
of PyTorch, in whichever order the two are imported; see ``torchvision_operators``. The
wheel runs this import when Python starts, so that ``import torchvision`` may come first.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__version__ = "0.1.0"


class _BeforeTorchvision(MetaPathFinder):
    """Declare torchvision's missing operators just before torchvision is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            from metalearn_lite.torchvision_operators import declare_missing

            declare_missing()
        return None  # the ordinary finders go on to find torchvision


if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, _BeforeTorchvision())

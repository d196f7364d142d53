"""Small, tested functions for transfer, multi-task and meta-learning in PyTorch.

Each part of the book is a room: import what you need from its door, for example
``from metalearn_lite.tasks import ImageTasks`` or ``from metalearn_lite.maml import maml_loss``.

Importing the package alone loads nothing. It only makes sure that torchvision will import
beside a CPU build of PyTorch, in whichever order the two are imported; see
``torchvision_operators``. An installation runs this import when Python starts, so that
``import torchvision`` may come first; it takes less than a millisecond. Where the package lies on
the path without being installed, import it before torchvision.
"""

import sys

__version__ = "0.2.0"


class _BeforeTorchvision:
    """Declare torchvision's missing operators just before torchvision is imported.

    A finder of modules by its method alone: ``importlib.abc`` takes 20 times as long to load.
    """

    @classmethod
    def find_spec(cls, name: str, path: object, target: object = None) -> None:
        if name == "torchvision":
            sys.meta_path.remove(cls)
            from metalearn_lite.torchvision_operators import declare_missing

            declare_missing()


if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, _BeforeTorchvision)

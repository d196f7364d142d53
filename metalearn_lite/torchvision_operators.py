"""Let torchvision import beside a CPU build of PyTorch.

On Linux the package registry carries torchvision only as a build for CUDA. Beside a CPU
build of PyTorch its compiled part cannot load, and ``import torchvision`` ends with
"operator torchvision::nms does not exist", because the Python part registers a shape rule
for an operator that nobody has declared. Declaring the operator's schema is enough for
all that this course uses: datasets, transforms, image grids and models. Calling the
operator itself (non-maximum suppression) still fails, and says so.

Who meets that message imports ``metalearn_lite`` first, or once more ``torchvision`` after it.
"""

import importlib.machinery
import sys
from pathlib import Path

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a schema lives as long as its library


def compiled_part_loads() -> bool:
    """Tell whether torchvision's compiled operators load beside this PyTorch."""
    # By the path alone: other finders may declare what is missing while they are asked.
    spec = importlib.machinery.PathFinder.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # not installed: let the import itself say so
    try:
        torch.ops.load_library(Path(spec.origin).with_name("_C.so"))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True


def declare_missing() -> bool:
    """Declare torchvision's operators where its compiled part cannot.

    Does nothing beside a CUDA or ROCm build of PyTorch, where a compiled part that does
    not load is an error the user must see, nor on macOS and Windows, where the parts match.

    Returns:
        Whether the operators were declared by this call.
    """
    cpu_build = torch.version.cuda is None and torch.version.hip is None
    if _declared or sys.platform != "linux" or not cpu_build or compiled_part_loads():
        return False
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(name + _SCHEMA)  # type: ignore[no-untyped-call]
    _declared.append(library)
    return True

"""Reptile: learn a starting point by walking towards where each task leads."""

from metalearn_lite.reptile.inner_adam import InnerAdam
from metalearn_lite.reptile.steps import (
    interpolate,
    reptile_learn,
    reptile_loss,
    reptile_predict,
    reptile_step,
)

__all__ = [
    "InnerAdam",
    "interpolate",
    "reptile_learn",
    "reptile_loss",
    "reptile_predict",
    "reptile_step",
]

"""MAML and its relatives: learn a starting point from which a few gradient steps solve a new task.

The algorithm is in ``plain``, on one page. ``dispatch`` documents its options, and chooses
``batched``, the same numbers for many tasks together, where that is known to be right.
"""

from metalearn_lite.maml.dispatch import adapt, maml_learn, maml_loss, maml_predict
from metalearn_lite.maml.hypergradients import implicit_hypergradient, unrolled_hypergradient
from metalearn_lite.maml.implicit import (
    Residuals,
    implicit_maml_learn,
    implicit_maml_loss,
    implicit_maml_predict,
    implicit_maml_residuals,
)
from metalearn_lite.maml.meta_sgd import MetaSGD, meta_sgd_learn
from metalearn_lite.maml.proto_maml import (
    proto_maml_learn,
    proto_maml_loss,
    proto_maml_predict,
    start_at_prototypes,
)
from metalearn_lite.maml.step_sizes import clipped

__all__ = [
    "MetaSGD",
    "Residuals",
    "adapt",
    "clipped",
    "implicit_hypergradient",
    "implicit_maml_learn",
    "implicit_maml_loss",
    "implicit_maml_predict",
    "implicit_maml_residuals",
    "maml_learn",
    "maml_loss",
    "maml_predict",
    "meta_sgd_learn",
    "proto_maml_learn",
    "proto_maml_loss",
    "proto_maml_predict",
    "start_at_prototypes",
    "unrolled_hypergradient",
]

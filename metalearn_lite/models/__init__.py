"""Networks of features and a head, how they normalise, and how many tasks pass through one at once.

Networks that others trained are in ``models.pretrained``, which needs torchvision.
"""

from metalearn_lite.models.heads import new_head
from metalearn_lite.models.networks import Network, conv4, initialise, mlp
from metalearn_lite.models.normalisation import (
    BatchStatisticsNorm,
    FixedStatisticsNorm,
    fix_statistics,
)

__all__ = [
    "BatchStatisticsNorm",
    "FixedStatisticsNorm",
    "Network",
    "conv4",
    "fix_statistics",
    "initialise",
    "mlp",
    "new_head",
]

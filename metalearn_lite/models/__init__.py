"""Networks of features and a head, how they normalise, and how many tasks pass through one at once.

Networks that others trained are in ``models.pretrained``, which needs torchvision.
"""

from metalearn_lite.models.fixed_statistics import FixedStatisticsNorm, fix_statistics
from metalearn_lite.models.heads import CosineHead, new_head
from metalearn_lite.models.initialisation import initialise
from metalearn_lite.models.networks import Network, conv4, mlp
from metalearn_lite.models.normalisation import BatchStatisticsNorm

__all__ = [
    "BatchStatisticsNorm",
    "CosineHead",
    "FixedStatisticsNorm",
    "Network",
    "conv4",
    "fix_statistics",
    "initialise",
    "mlp",
    "new_head",
]

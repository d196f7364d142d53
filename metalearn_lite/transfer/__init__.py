"""What was learned on many classes, used for others."""

from metalearn_lite.transfer.fine_tuning import as_predict, fine_tune, layer_decay, linear_probe
from metalearn_lite.transfer.supervised import features, pretrain

__all__ = [
    "as_predict",
    "features",
    "fine_tune",
    "layer_decay",
    "linear_probe",
    "pretrain",
]

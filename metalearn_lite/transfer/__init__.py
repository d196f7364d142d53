"""What was learned on many classes, used for others."""

from metalearn_lite.transfer.fine_tuning import (
    as_predict,
    fine_tune,
    fine_tune_learn,
    layer_decay,
    linear_probe,
    lp_ft_learn,
    probe_learn,
)
from metalearn_lite.transfer.supervised import features, pretrain

__all__ = [
    "as_predict",
    "features",
    "fine_tune",
    "fine_tune_learn",
    "layer_decay",
    "linear_probe",
    "lp_ft_learn",
    "pretrain",
    "probe_learn",
]

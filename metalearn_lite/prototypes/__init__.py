"""The nearest class mean, and other heads with one optimum, on features that all tasks share."""

from metalearn_lite.prototypes.fitted_heads import (
    LearnedRidge,
    head_learn,
    head_predict,
    logistic_head,
    ridge_head,
    ridge_learn,
    ridge_loss,
    ridge_predict,
    svm_head,
    svm_predict,
)
from metalearn_lite.prototypes.means import (
    linear_form,
    prototype_head,
    prototype_learn,
    prototype_logits,
    prototype_loss,
    prototype_predict,
    prototypes,
)

__all__ = [
    "LearnedRidge",
    "head_learn",
    "head_predict",
    "linear_form",
    "logistic_head",
    "prototype_head",
    "prototype_learn",
    "prototype_logits",
    "prototype_loss",
    "prototype_predict",
    "prototypes",
    "ridge_head",
    "ridge_learn",
    "ridge_loss",
    "ridge_predict",
    "svm_head",
    "svm_predict",
]

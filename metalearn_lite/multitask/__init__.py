"""Several tasks learned by one network: losses, weights, gradients, one training loop."""

from metalearn_lite.multitask.balancing import (
    UncertaintyWeights,
    gradnorm_loss,
    gradnorm_step,
    tune_weights,
    weighted_loss,
)
from metalearn_lite.multitask.factors import (
    FACTORS,
    FactorTasks,
    factor_moments,
    factor_targets,
    factor_tasks,
    skill,
)
from metalearn_lite.multitask.gradient_surgery import (
    gradient_cosine,
    mgda,
    mgda_weights,
    pcgrad,
    task_gradients,
)
from metalearn_lite.multitask.joint_training import (
    by_gradnorm,
    by_surgery,
    by_uncertainty,
    by_weights,
    train_together,
)
from metalearn_lite.multitask.network import (
    MISSING,
    MultiTask,
    kinds,
    task_losses,
    tasks_with_labels,
)

__all__ = [
    "FACTORS",
    "MISSING",
    "FactorTasks",
    "MultiTask",
    "UncertaintyWeights",
    "by_gradnorm",
    "by_surgery",
    "by_uncertainty",
    "by_weights",
    "factor_moments",
    "factor_targets",
    "factor_tasks",
    "gradient_cosine",
    "gradnorm_loss",
    "gradnorm_step",
    "kinds",
    "mgda",
    "mgda_weights",
    "pcgrad",
    "skill",
    "task_gradients",
    "task_losses",
    "tasks_with_labels",
    "train_together",
    "tune_weights",
    "weighted_loss",
]

"""One loop for every method: draw tasks, compute the objective, take a step."""

from metalearn_lite.training.loop import Iteration, Objective, meta_train
from metalearn_lite.training.recording import recorded
from metalearn_lite.training.resuming import History

__all__ = ["History", "Iteration", "Objective", "meta_train", "recorded"]

"""Learning in the forward pass: a network reads labelled examples and queries, and answers."""

from metalearn_lite.in_context.answers import (
    in_context_learn,
    in_context_loss,
    in_context_predict,
)
from metalearn_lite.in_context.linear_functions import LinearTasks, bayes_learn, bayes_predict
from metalearn_lite.in_context.set_transformer import SetTransformer

__all__ = [
    "LinearTasks",
    "SetTransformer",
    "bayes_learn",
    "bayes_predict",
    "in_context_learn",
    "in_context_loss",
    "in_context_predict",
]

"""Checks of one's own code: gradients, samplers, predictions, statistics, and tests themselves."""

from metalearn_lite.checks.episodes import Audit, audit_episodes
from metalearn_lite.checks.gradients import check_batch, check_gradient
from metalearn_lite.checks.image_names import marked_images
from metalearn_lite.checks.planted_bugs import check_test, objection
from metalearn_lite.checks.predictions import Answers, check_metric, check_predict, check_unchanged
from metalearn_lite.checks.running_statistics import check_running_statistics

__all__ = [
    "Answers",
    "Audit",
    "audit_episodes",
    "check_batch",
    "check_gradient",
    "check_metric",
    "check_predict",
    "check_running_statistics",
    "check_test",
    "check_unchanged",
    "marked_images",
    "objection",
]

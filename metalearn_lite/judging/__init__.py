"""What a result is worth: baselines, all methods in one form, ledgers, sample sizes."""

from metalearn_lite.judging.baselines import (
    from_scratch,
    nearest_class,
    nearest_feature,
    nearest_pixel,
    nearest_pixel_learn,
    scratch_learn,
)
from metalearn_lite.judging.learners import LEARNERS, learner_from
from metalearn_lite.judging.ledger import Ledger, read_ledger, result_path
from metalearn_lite.judging.memory import saved_bytes
from metalearn_lite.judging.methods import METHODS, answers
from metalearn_lite.judging.open_set import (
    fit_temperature,
    leave_one_out,
    open_set_scores,
    ranked_names,
    refusal_rates,
    refusal_threshold,
    strangeness,
)
from metalearn_lite.judging.representations import activations, cka
from metalearn_lite.judging.sample_size import episodes_needed

__all__ = [
    "LEARNERS",
    "METHODS",
    "Ledger",
    "activations",
    "answers",
    "cka",
    "episodes_needed",
    "fit_temperature",
    "from_scratch",
    "learner_from",
    "leave_one_out",
    "nearest_class",
    "nearest_feature",
    "nearest_pixel",
    "nearest_pixel_learn",
    "open_set_scores",
    "ranked_names",
    "read_ledger",
    "refusal_rates",
    "refusal_threshold",
    "result_path",
    "saved_bytes",
    "scratch_learn",
    "strangeness",
]

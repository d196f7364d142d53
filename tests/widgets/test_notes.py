"""Numbers for the text of a page: under which name, and in which form."""

import myst_nb
import pytest

from metalearn_lite.evaluation import Scores
from metalearn_lite.widgets import note


@pytest.fixture
def glued(monkeypatch):
    """What was glued: value and options by name."""
    kept = {}
    monkeypatch.setattr(
        myst_nb, "glue", lambda name, value, **options: kept.update({name: (value, options)})
    )
    return kept


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("gain", "gain"),
        ("5 shots", "5-shots"),
        ("rate 0.1", "rate-0-1"),
        ("MAML, 5 shots, 1.5 steps", "MAML-5-shots-1-5-steps"),
    ],
)
def test_a_name_becomes_one_that_the_text_can_ask_for(name, key, glued):
    note(name, 1)
    assert list(glued) == [key]


@pytest.mark.parametrize("value", ["seven", 7, 0.25, None])
def test_a_text_or_a_number_is_kept_as_it_is_and_not_shown(value, glued):
    note("gain", value)
    assert glued == {"gain": (value, {"display": False})}


def test_scores_become_per_cent_with_their_interval(glued):
    scores = Scores.of([0.9, 0.7, 0.8])
    note("accuracy", scores)
    assert glued["accuracy"] == (scores.percent(), {"display": False})
    assert glued["accuracy"][0].startswith("80.0 ± ")

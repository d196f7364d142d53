import json
import re

import pytest

from metalearn_lite.in_context import SetTransformer
from metalearn_lite.models import conv4, mlp
from metalearn_lite.widgets.waves import PLACES, sines


def show(models=None, **options):
    models = {"MAML": mlp()} if models is None else models
    return sines(models, **{"inner_lr": 0.01, "colours": {}, "label": "L"} | options).data


def test_networks_come_with_their_colours_and_the_first_settings():
    html = show({"a": mlp(), "b": mlp()}, colours={"a": "#123456"}, count=3, steps=2)
    data = json.loads(re.search(r"const given = (.*);\n", html)[1])
    assert data["colours"] == {"a": "#123456", "b": "#666666"}
    assert (data["count"], data["steps"], data["rate"], data["most"]) == (3, 2, 0.01, 10)
    assert data["networks"]["a"]["weights"]["digits"] == 32
    assert len(set(PLACES)) == len(PLACES) == 10


def test_the_same_gives_the_same_bytes_and_nothing_is_fetched():
    model = mlp()
    first = show({"MAML": model})
    assert first == show({"MAML": model})
    assert not re.search(r"https?:(?!//www.w3.org/2000/svg)|import\(|fetch\(|localStorage", first)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"models": {}}, "0 models"),
        ({"inner_lr": 0.5}, "inner_lr=0.5.*a rate of"),
        ({"count": 11}, "at most 10 points"),
        ({"count": 0}, "count"),
        ({"steps": 11}, "11 of 10 steps"),
        ({"steps": -1}, "steps"),
        ({"waves": [(0.0, 1.0)]}, "amplitude"),
        ({"waves": [(7.0, 1.0)]}, "amplitudes above 0 and at most 5"),
        ({"models": {"MAML": mlp(1, 2)}}, "MAML maps 1 numbers to 2"),
        ({"models": {"MAML": mlp(2, 1)}}, "MAML maps 2 numbers to 1"),
        ({"models": {"MAML": conv4(1, 8, "group")}}, "expected one to one"),
        ({"models": {"reader": SetTransformer(1, 2)}}, "reader maps 1 numbers to 2"),
    ],
)
def test_what_the_page_cannot_show_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        show(**options)

import base64
import json
import re

import numpy as np
import pytest
import torch

from metalearn_lite.models import conv4
from metalearn_lite.widgets.characters import SIDE, Answering, drawing, file_name, in_bits


@pytest.fixture
def network(generator):
    return conv4(5, 8, "group", generator=generator)


@pytest.fixture
def tray():
    x = torch.zeros(5, 2, 28, 28)
    x[..., 7:21, 7:14] = 1
    return {"boxes": x}


def show(methods, tray, **texts):
    return drawing(methods, tray, **{"label": "L", "about": "A"} | texts).data


def data_of(html):
    return json.loads(re.search(r"const data = (.*), root = ", html)[1])


def test_a_row_has_its_network_its_steps_and_its_colour(network, tray):
    rows = data_of(
        show(
            {
                "nearest pixel": Answering(),
                "prototypes": Answering(network),
                "MAML, slow": Answering(network, 3, 0.1, company=True),
                "mine": Answering(network, 2, 0.2, fresh_head=True),
            },
            tray,
        )
    )["methods"]
    assert [row.get("steps") for row in rows] == [None, 0, 3, 2]
    assert [row.get("rate") for row in rows] == [None, 0.0, 0.1, 0.2]
    assert [row.get("company") for row in rows] == [None, False, True, False]
    assert [row.get("fresh_head") for row in rows] == [None, False, False, True]
    assert [row["colour"] for row in rows] == ["#56B4E9", "#882255", "#0072B2", "#666666"]
    assert "network" not in rows[0] and rows[1]["network"]["input"] == [1, 28, 28]


def test_drawings_are_packed_at_the_size_of_the_sheet(tray):
    packed = in_bits("boxes", tray["boxes"])
    assert len(packed) == 5 and len(packed[0]) == 2
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed[0][0]), "u1"))[: SIDE * SIDE]
    ink = bits.reshape(SIDE, SIDE)
    assert ink[SIDE // 2, SIDE // 4 + 3] and not ink[SIDE // 2, 3 * SIDE // 4]
    assert ink.mean() == pytest.approx(1 / 8, abs=0.01)


def test_the_same_gives_the_same_bytes_and_nothing_is_fetched(network, tray):
    methods = {"prototypes": Answering(network)}
    first = show(methods, tray)
    assert first == show(methods, tray)
    assert not re.search(r"https?:|import\(|fetch\(|localStorage", first)


def test_text_is_escaped(network, tray):
    html = show({"<b>": Answering()}, tray, label='<i>"', about="</div><script>")
    assert "<b>" not in html and "<i>" not in html and html.count("<script>") == 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": -1}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"steps": 2}, "rate"),
        ({"steps": 2, "rate": float("nan")}, "rate"),
    ],
)
def test_steps_that_cannot_be_taken_are_refused(network, options, match):
    with pytest.raises(ValueError, match=match):
        Answering(network, **options)


def test_what_does_not_fit_is_refused(network, tray):
    with pytest.raises(ValueError, match="0 methods"):
        show({}, tray)
    with pytest.raises(ValueError, match="0 scripts"):
        show({"prototypes": Answering(network)}, {})
    with pytest.raises(ValueError, match="mine takes 2 steps: expected a network"):
        show({"mine": Answering(None, 2, 0.1)}, tray)
    with pytest.raises(ValueError, match="mine has 4 outputs: expected 5"):
        show({"mine": Answering(conv4(4, 8, "group"), 2, 0.1)}, tray)
    for images in (tray["boxes"][:4], tray["boxes"][:, :1], tray["boxes"][0]):
        with pytest.raises(ValueError, match="drawings of boxes have shape"):
            show({"prototypes": Answering(network)}, {"boxes": images})


def test_a_file_is_named_after_its_network():
    assert file_name("MAML, batch statistics") == "MAML_batch_statistics.zip"

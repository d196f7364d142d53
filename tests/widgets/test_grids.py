"""Pictures for all pairs of two controls, in a page of bounded size."""

import io
import json
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from metalearn_lite.widgets.grids import grid
from metalearn_lite.widgets.pictures import in_few_colours


def figure(value=0):
    fig, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, value])
    return fig


def noise(seed, side=300):
    """A picture that no palette and no packing makes small."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def data_of(html):
    return json.loads(re.search(r"const grid = (.*);\n", html.data)[1])


def test_a_picture_for_each_pair_in_the_order_of_the_sliders():
    asked = []

    def draw(a, b):
        asked.append((a, b))
        return figure(a * b)

    data = data_of(grid(draw, {"a": [1, 2, 3], "b": [-0.5, 10.0]}, label="L"))
    assert asked == [(a, b) for a in (1, 2, 3) for b in (-0.5, 10.0)]
    assert data["values"] == [["1", "2", "3"], ["−0.5", "10"]]
    assert data["first"] == [1, 1] and data["start"] == 3
    assert [bool(picture) for picture in data["pictures"]] == [True, True, True, False, True, True]


def test_figures_are_closed():
    before = plt.get_fignums()
    grid(figure, {"value": [1, 2]}, label="L")
    assert plt.get_fignums() == before


def test_names_and_values_can_be_read():
    html = grid(lambda meta_lr: figure(), {"meta_lr": [True, False]}, label="The pull")
    data = data_of(html)
    assert data["names"] == ["meta lr"] and data["values"] == [["yes", "no"]]
    assert 'alt="The pull: meta lr = yes"' in html.data


def test_the_page_takes_at_most_400_kb_whatever_is_drawn():
    html = grid(noise, {"seed": list(range(12))}, label="L")
    assert len(html.data) < 400_000
    size = len(in_few_colours(noise(0))) * 12
    assert size > 400_000  # so that something had to be made smaller
    small = grid(lambda seed: noise(seed, 100), {"seed": [0, 1]}, label="L")
    content = re.search(r'<img src="data:image/png;base64,([^"]+)"', small.data)[1]
    assert len(content) == pytest.approx(len(in_few_colours(noise(1, 100))) * 4 / 3, abs=4)


@pytest.mark.parametrize(
    "values", [{}, {"a": [1], "b": [1], "c": [1]}, {"a": []}, {"a": range(61)}]
)
def test_one_or_two_controls_and_not_too_many_pictures(values):
    with pytest.raises(ValueError, match="expected one or two controls, and at most 60 pictures"):
        grid(lambda **_: figure(), values, label="L")


def test_the_same_pictures_give_the_same_bytes():
    pages = [grid(figure, {"value": [1, 2]}, label=label).data for label in "aab"]
    assert pages[0] == pages[1] != pages[2]

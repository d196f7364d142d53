"""Sliders that call Python: live in Jupyter, pictures drawn beforehand on the page."""

import matplotlib

matplotlib.use("Agg")

import io
import itertools
import json
import re

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from metalearn_lite.widgets import explorer
from metalearn_lite.widgets.explorers import grid
from metalearn_lite.widgets.pictures import data_uri, in_few_colours


def figure(value=0):
    fig, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, value])
    return fig


def live(shown, monkeypatch):
    """Return the sliders by name and the picture that a notebook would show."""
    made, box = [], ipywidgets.VBox
    with monkeypatch.context() as patch:
        patch.setattr(ipywidgets, "VBox", lambda children: made.append(children) or box(children))
        shown._repr_mimebundle_()
    *sliders, picture = made[0]
    return {slider.description: slider for slider in sliders}, picture


def pictures(bundle):
    """The pictures of the page by the values they are drawn for, and the grid's data."""
    html = bundle["text/html"]
    grid = json.loads(re.search(r"const grid = (.*);\n", html)[1])
    grid["pictures"][grid["start"]] = re.search(r'<img src="([^"]+)"', html)[1]
    return dict(zip(itertools.product(*grid["values"]), grid["pictures"], strict=True)), grid


def test_the_explorer_is_live_in_jupyter_and_a_grid_of_pictures_on_the_page():
    drawn = []

    def draw(points, kind):
        drawn.append((points, kind))
        return figure(points)

    bundle = explorer(draw, points=(0, 10, 1), kind=["a", "b"])._repr_mimebundle_()
    assert drawn[0] == (5, "a") and len(drawn) == len(set(drawn)) == 10
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/plain"] == "Drawn for points = 5, kind = a."
    shown, grid = pictures(bundle)
    assert list(shown) == [(p, k) for p in ("0", "2", "5", "8", "10") for k in ("a", "b")]
    assert len(set(shown.values())) == 5  # it is the points that this figure shows
    assert grid["names"] == ["points", "kind"] and grid["ordered"] == [True, False]


def test_the_page_offers_the_values_that_are_named_and_the_rest_stays_at_its_start():
    drawn = []

    def draw(**values):
        drawn.append(values)
        return figure(values["a"])

    page = {"c": [True, False], "a": [1, 3, 4]}
    shown = explorer(draw, page=page, label="L", a=(0, 4, 1), b=(0.0, 1.0, 0.5), c=True)
    bundle = shown._repr_mimebundle_()
    assert drawn[0] == {"a": 3, "b": 0.5, "c": True} and len(drawn) == 6
    assert all(values["b"] == 0.5 for values in drawn)
    found, grid = pictures(bundle)
    assert list(found) == [(c, a) for c in ("yes", "no") for a in ("1", "3", "4")]
    assert grid["first"] == [0, 1]
    assert 'alt="L: c = yes, a = 3"' in bundle["text/html"]


@pytest.mark.parametrize(
    ("control", "values"),
    [
        ((0, 3, 1), [0, 1, 2, 3]),
        ((0, 100, 1), [0, 25, 50, 75, 100]),
        ((0.1, 0.5, 0.2), [0.1, 0.3, 0.5]),
        (True, [False, True]),
        (["x"], ["x"]),
    ],
)
def test_a_page_that_names_no_values_offers_some_from_end_to_end(control, values):
    assert explorer(figure, value=control).page == {"value": values}


def test_a_page_that_names_no_controls_offers_the_first_two():
    assert list(explorer(figure, a=True, b=True, c=True).page) == ["a", "b"]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ({}, "expected one or two of the controls"),
        ({"x": [1]}, r"page names \['x'\]: expected one or two of the controls \['a', 'b', 'c'\]"),
        ({"a": [1], "b": ["x"], "c": [True]}, "expected one or two"),
        ({"a": []}, r"page offers a = \[\]: expected values of its control, \(0, 4, 1\)"),
        ({"a": [5]}, r"page offers a = \[5\]"),
        ({"a": [0.5]}, r"page offers a = \[0.5\]"),
        ({"b": ["z"]}, r"page offers b = \['z'\]"),
    ],
)
def test_the_page_offers_only_what_the_controls_do(page, words):
    with pytest.raises(ValueError, match=words):
        explorer(figure, page=page, a=(0, 4, 1), b=["x", "y"], c=True)


def test_moving_a_slider_draws_again(monkeypatch):
    drawn = []

    def draw(points):
        drawn.append(points)
        return figure(points)

    sliders, picture = live(explorer(draw, points=(0, 10, 1)), monkeypatch)
    before = picture.value
    sliders["points"].value = 8
    assert drawn[0] == 5 and drawn[-1] == 8 and len(drawn) == 6 and picture.value != before


def test_a_control_moves_its_own_argument_and_leaves_the_others(monkeypatch):
    drawn = []

    def draw(**values):
        drawn.append(values)
        return figure()

    sliders, _ = live(explorer(draw, a=(0, 4, 2), b=["x", "y"], c=True), monkeypatch)
    assert list(sliders) == ["a", "b", "c"]
    assert drawn[0] == {"a": 2, "b": "x", "c": True}
    drawn.clear()
    sliders["b"].value = "y"
    sliders["c"].value = False
    assert drawn == [
        {"a": 2, "b": "y", "c": True},
        {"a": 2, "b": "y", "c": False},
    ]


def test_a_slider_waits_until_it_is_let_go(monkeypatch):
    sliders, _ = live(explorer(lambda points: figure(points), points=(0, 10, 1)), monkeypatch)
    assert sliders["points"].continuous_update is False


def test_the_page_begins_with_the_picture_of_the_notebook(monkeypatch):
    shown = explorer(lambda points: figure(points), points=(0, 10, 1))
    _, picture = live(shown, monkeypatch)
    found, _ = pictures(shown._repr_mimebundle_())
    assert found["5",] == data_uri(in_few_colours(picture.value)) and picture.format == "png"


def test_values_are_escaped():
    bundle = explorer(lambda kind: figure(), kind=['<b>"', "y"])._repr_mimebundle_()
    html = bundle["text/html"]
    assert '<b>"' in bundle["text/plain"] and "<b>" not in html
    assert html.count("kind = &lt;b&gt;&quot;") == 2  # alt and caption


def test_nothing_is_drawn_before_it_is_shown_and_figures_are_closed():
    drawn, before = [], plt.get_fignums()

    def draw(points):
        drawn.append(points)
        return figure(points)

    shown = explorer(draw, points=(0, 10, 1))
    assert drawn == []
    shown._repr_mimebundle_(include=None, exclude=None)
    assert drawn[0] == 5 and plt.get_fignums() == before


def test_a_control_that_is_none_is_an_error():
    with pytest.raises(ValueError, match=r"control points is <object .*: expected \(least, most"):
        explorer(figure, kind=["a"], points=object())
    with pytest.raises(ValueError, match="got no controls: expected one for each argument of draw"):
        explorer(figure)


@pytest.mark.parametrize("control", [5, 2.5, "text", {"a": 1}, (1, 2), None])
def test_a_control_that_is_no_range_list_or_bool_is_refused(control):
    with pytest.raises(ValueError, match=r"expected \(least, most, step\), a list or a bool"):
        explorer(figure, points=control)


# grid: pictures for all pairs of two controls, in a page of bounded size


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

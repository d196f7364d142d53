"""Sliders that call Python: live in Jupyter, their first picture in the page."""

import matplotlib

matplotlib.use("Agg")

import base64
import re

import ipywidgets
import matplotlib.pyplot as plt
import pytest

from metalearn_lite.widgets import explorer


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


def test_the_explorer_is_live_in_jupyter_and_a_picture_in_the_page():
    drawn = []

    def draw(points, kind):
        drawn.append((points, kind))
        return figure(points)

    bundle = explorer(draw, points=(0, 10, 1), kind=["a", "b"])._repr_mimebundle_()
    assert drawn == [(5, "a")]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "data:image/png" in bundle["text/html"]
    assert (
        bundle["text/plain"] == "Drawn for points = 5, kind = a. In Jupyter there are sliders here."
    )


def test_moving_a_slider_draws_again(monkeypatch):
    drawn = []

    def draw(points):
        drawn.append(points)
        return figure(points)

    sliders, picture = live(explorer(draw, points=(0, 10, 1)), monkeypatch)
    before = picture.value
    sliders["points"].value = 8
    assert drawn == [5, 8] and picture.value != before


def test_a_control_moves_its_own_argument_and_leaves_the_others(monkeypatch):
    drawn = []

    def draw(**values):
        drawn.append(values)
        return figure()

    sliders, _ = live(explorer(draw, a=(0, 4, 2), b=["x", "y"], c=True), monkeypatch)
    assert list(sliders) == ["a", "b", "c"]
    sliders["b"].value = "y"
    sliders["c"].value = False
    assert drawn == [
        {"a": 2, "b": "x", "c": True},
        {"a": 2, "b": "y", "c": True},
        {"a": 2, "b": "y", "c": False},
    ]


def test_a_slider_waits_until_it_is_let_go(monkeypatch):
    sliders, _ = live(explorer(lambda points: figure(points), points=(0, 10, 1)), monkeypatch)
    assert sliders["points"].continuous_update is False


def test_the_picture_of_the_page_is_that_of_the_notebook(monkeypatch):
    shown = explorer(lambda points: figure(points), points=(0, 10, 1))
    _, picture = live(shown, monkeypatch)
    html = shown._repr_mimebundle_()["text/html"]
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert base64.b64decode(data) == picture.value and picture.format == "png"


def test_the_note_says_what_was_drawn_and_is_escaped():
    bundle = explorer(lambda kind: figure(), kind=['<b>"', "y"])._repr_mimebundle_()
    html = bundle["text/html"]
    assert '<b>"' in bundle["text/plain"] and "<b>" not in html
    assert html.count("Drawn for kind = &lt;b&gt;&quot;. In Jupyter") == 2  # alt and caption


def test_nothing_is_drawn_before_it_is_shown_and_figures_are_closed():
    drawn, before = [], plt.get_fignums()

    def draw(points):
        drawn.append(points)
        return figure(points)

    shown = explorer(draw, points=(0, 10, 1))
    assert drawn == []
    shown._repr_mimebundle_(include=None, exclude=None)
    assert drawn == [5] and plt.get_fignums() == before


def test_a_control_that_is_none_is_an_error():
    with pytest.raises(ValueError, match=r"control points is <object .*: expected \(least, most"):
        explorer(figure, kind=["a"], points=object())
    with pytest.raises(ValueError, match="got no controls: expected one for each argument of draw"):
        explorer(figure)


@pytest.mark.parametrize("control", [5, 2.5, "text", {"a": 1}, (1, 2), None])
def test_a_control_that_is_no_range_list_or_bool_is_refused(control):
    with pytest.raises(ValueError, match=r"expected \(least, most, step\), a list or a bool"):
        explorer(figure, points=control)

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

from metalearn_lite import plotting
from metalearn_lite.evaluation import Scores


@pytest.fixture
def ax():
    with plt.rc_context():
        plotting.use_style()
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


def test_every_method_has_a_colour_of_its_own():
    assert len(set(plotting.COLOURS.values())) == len(plotting.COLOURS)


def test_images_stand_in_the_grid_where_they_belong(ax):
    rows = torch.zeros(2, 3, 1, 4, 4)
    rows[1, 2] = 1
    assert plotting.show_images(ax, rows, labels=["a", "b"]) is ax
    picture = ax.images[0].get_array()
    assert picture.shape == (8, 12)
    assert picture[4:, 8:].min() == 1 and picture.sum() == 16
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]


def test_wrong_rows_are_errors(ax):
    with pytest.raises(ValueError, match="one label a row"):
        plotting.show_images(ax, torch.zeros(2, 3, 4, 4), labels=["a"])
    with pytest.raises(ValueError, match="expected \\(rows, columns, h, w\\)"):
        plotting.show_images(ax, torch.zeros(3, 4, 4))


def test_scores_are_drawn_in_percent_with_their_interval(ax):
    scores = {"MAML": Scores.of([0.8, 0.9]), "nearest pixel": Scores.of([0.4, 0.5])}
    plotting.score_bars(ax, scores, chance=0.2)
    assert ax.lines[0].get_xdata()[0] == pytest.approx(85)
    assert [t.get_text() for t in ax.get_yticklabels()] == list(scores)


def test_a_band_has_a_line_and_an_area(ax):
    plotting.band(ax, [1, 2], [Scores.of([1.0, 2.0]), Scores.of([2.0, 3.0])], label="MAML")
    assert ax.lines[0].get_ydata().tolist() == [1.5, 2.5]
    assert len(ax.collections) == 1


def test_groups_of_intervals_stand_beside_each_other(ax):
    scores = {"script": Scores.of([0.1, 0.2]), "scale": Scores.of([0.3, 0.5])}
    plotting.intervals(ax, scores, label="one", colour="black", shift=0.2)
    plotting.intervals(ax, scores, label="two", colour="red", marker="s", shift=-0.2)
    points = [c for c in ax.containers]
    assert [p[0].get_ydata()[0] for p in points] == pytest.approx([0.2, -0.8, -0.2, -1.2])
    assert [p[0].get_xdata()[0] for p in points] == pytest.approx([15, 40, 15, 40])
    assert ax.get_legend_handles_labels()[1] == ["one", "two"]


def test_a_matrix_leaves_out_pairs_without_a_value(ax):
    values = {("a", "b"): -0.04, ("b", "a"): -3.0}
    plotting.matrix(ax, values, ["a", "b"], limit=3, bold=[("b", "a")])
    assert [t.get_text() for t in ax.texts] == ["+0.0", "-3.0"]
    assert [t.get_weight() for t in ax.texts] == ["normal", "bold"]
    assert ax.texts[1].get_position() == (0, 1)  # row b, column a

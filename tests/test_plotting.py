"""Figures: a colour for each method that readers can tell, and drawn is what was measured."""

import matplotlib

matplotlib.use("Agg")

from itertools import combinations

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb, to_rgba

from metalearn_lite import plotting
from metalearn_lite.evaluation import Scores
from metalearn_lite.judging import METHODS
from metalearn_lite.plotting import COLOURS, UNNAMED

# what is left of linear light without red or green cones: Machado et al. (2009), severity 1
SIGHTS = {
    "all": torch.eye(3),
    "no red": torch.tensor(
        [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]
    ),
    "no green": torch.tensor(
        [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]
    ),
}
# from linear light to lightness and two opponent colours: OKLab, Ottosson (2020)
CONES = torch.tensor([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
OPPONENTS = torch.tensor(
    [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
)


def light(colour):
    values = torch.tensor(to_rgb(colour))
    return torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(colour):
    return (light(colour) @ torch.tensor([0.2126, 0.7152, 0.0722])).item()


def seen(colour, sight):
    return OPPONENTS @ (CONES @ (SIGHTS[sight] @ light(colour)).clamp(0, 1)).pow(1 / 3)


@pytest.fixture
def ax():
    with plt.rc_context():
        plotting.use_style()
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


def test_every_method_has_a_colour_of_its_own():
    assert set(METHODS) <= set(COLOURS)
    colours = [to_hex(colour) for colour in (*COLOURS.values(), UNNAMED)]
    assert len(set(colours)) == len(COLOURS) + 1


@pytest.mark.parametrize("name", [n for n in (*COLOURS, "none") if n != "from scratch"])
def test_a_colour_can_be_seen_on_white_and_on_black(name):
    brightness = luminance(COLOURS.get(name, UNNAMED)) + 0.05  # as in the contrast of WCAG
    assert 1.05 / brightness >= 2 and brightness / 0.05 >= 2


@pytest.mark.parametrize("sight", SIGHTS)
def test_methods_can_be_told_apart_with_any_common_sight(sight):
    """0.02 is just noticeable side by side; thin lines apart from each other need more."""
    for a, b in combinations([*(COLOURS[name] for name in METHODS), UNNAMED], 2):
        assert (seen(a, sight) - seen(b, sight)).norm() > 0.06, (a, b)


def test_the_relatives_of_maml_are_blue():
    for name in ("MAML", "first-order MAML", "ANIL", "Meta-SGD", "Proto-MAML"):
        red, green, blue = to_rgb(COLOURS[name])
        assert blue > max(red, green)


def test_the_style_is_that_of_all_figures_that_follow():
    with plt.rc_context():
        plt.rcdefaults()
        plotting.use_style()
        for name, value in plotting.STYLE.items():
            assert plt.rcParams[name] == value
        sizes = ("figure.dpi", "font.size", "lines.linewidth")
        assert [plt.rcParams[name] for name in sizes] == [120, 10, 2]
        assert plt.rcParams["figure.constrained_layout.use"] is True
        for part in ("axes.spines.top", "axes.spines.right", "axes.grid", "legend.frameon"):
            assert plt.rcParams[part] is False


def test_a_notebook_keeps_figures_in_pixels_and_in_lines(monkeypatch):
    inline = pytest.importorskip("matplotlib_inline.backend_inline")
    kept = []
    monkeypatch.setattr(inline, "set_matplotlib_formats", lambda *formats: kept.append(formats))
    with plt.rc_context():
        plotting.use_style()
        assert kept == []
        monkeypatch.setattr(plt, "get_backend", lambda: "inline")
        plotting.use_style()
    assert kept == [("png", "svg")]


def test_images_stand_in_the_grid_where_they_belong(ax):
    rows = torch.zeros(2, 3, 1, 4, 4)
    rows[1, 2] = 1
    assert plotting.show_images(ax, rows, labels=["a", "b"]) is ax
    picture = ax.images[0].get_array()
    assert picture.shape == (8, 12)
    assert picture[4:, 8:].min() == 1 and picture.sum() == 16
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_yticks().tolist() == [2, 6] and len(ax.get_xticks()) == 0


def test_an_image_is_neither_turned_nor_stretched_in_its_values(ax):
    image = torch.rand(1, 1, 3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    plotting.show_images(ax, image / 2)
    picture = torch.as_tensor(ax.images[0].get_array().data)
    torch.testing.assert_close(picture, image[0, 0].detach() / 2)
    assert ax.images[0].get_clim() == (0, 1)  # grey stays grey


def test_images_are_parted_by_white_lines(ax):
    plotting.show_images(ax, torch.zeros(2, 3, 4, 5))
    across, down = ax.lines[:2], ax.lines[2:]
    assert [line.get_xdata()[0] for line in across] == [4.5, 9.5]
    assert [line.get_ydata()[0] for line in down] == [3.5]
    assert {to_hex(line.get_color()) for line in ax.lines} == {"#ffffff"}


def test_images_have_no_frame_and_no_ticks_and_lines_of_one_width(ax):
    with plt.rc_context({"lines.linewidth": 7}):
        plotting.show_images(ax, torch.zeros(2, 2, 4, 5), labels=["a", "b"])
    assert not any(spine.get_visible() for spine in ax.spines.values())
    assert [line.get_linewidth() for line in ax.lines] == [2, 2]
    marks = (*ax.xaxis.get_major_ticks(), *ax.yaxis.get_major_ticks())
    assert {tick.tick1line.get_markersize() for tick in marks} == {0}


def test_wrong_rows_are_errors(ax):
    with pytest.raises(ValueError, match="one label a row"):
        plotting.show_images(ax, torch.zeros(2, 3, 4, 4), labels=["a"])
    with pytest.raises(ValueError, match="expected \\(rows, columns, h, w\\)"):
        plotting.show_images(ax, torch.zeros(3, 4, 4))


def test_scores_are_drawn_in_percent_with_their_interval(ax):
    scores = {"MAML": Scores.of([0.8, 0.9]), "nearest pixel": Scores.of([0.4, 0.5])}
    plotting.score_bars(ax, scores, chance=0.2)
    first, second = ax.containers
    assert first[0].get_xdata()[0] == pytest.approx(85)
    assert second[0].get_xdata()[0] == pytest.approx(45)
    (interval,) = first[2][0].get_segments()
    wide = 100 * scores["MAML"].half_width
    assert interval[:, 0] == pytest.approx([85 - wide, 85 + wide])


def test_a_score_stands_on_the_line_of_its_name_the_first_on_top(ax):
    scores = {"MAML": Scores.of([0.8, 0.9]), "nearest pixel": Scores.of([0.4, 0.5])}
    plotting.score_bars(ax, scores)
    heights = dict(zip([t.get_text() for t in ax.get_yticklabels()], ax.get_yticks(), strict=True))
    drawn = [c[0].get_ydata()[0] for c in ax.containers]
    assert drawn == [heights[name] for name in scores] and drawn[0] > drawn[1]
    assert ax.get_ylim() == (-1.5, 0.5)  # half a line above and below


def test_each_score_has_the_colour_of_its_method(ax):
    scores = {name: Scores.of([0.5, 0.6]) for name in METHODS}
    plotting.score_bars(ax, scores)
    drawn = [container[0].get_color() for container in ax.containers]
    assert drawn == [COLOURS[name] for name in METHODS]


def test_a_name_without_a_colour_is_drawn_in_a_grey_that_no_method_has(ax):
    plotting.score_bars(ax, {"my own": Scores.of([0.5, 0.6])})
    plotting.band(ax, [1], [Scores.of([0.5, 0.6])], label="my own")
    assert ax.containers[0][0].get_color() == UNNAMED == ax.lines[-1].get_color()
    red, green, blue = to_rgb(UNNAMED)
    assert red == green == blue and UNNAMED not in COLOURS.values()


def test_chance_is_a_dotted_line_that_is_drawn_if_it_is_known(ax):
    plotting.score_bars(ax, {"MAML": Scores.of([0.8, 0.9])})
    before = len(ax.lines)
    plotting.score_bars(ax, {"MAML": Scores.of([0.8, 0.9])}, chance=0.2)
    (chance,) = (line for line in ax.lines[before:] if line.get_linestyle() == ":")
    assert list(chance.get_xdata()) == [20, 20]
    (name,) = ax.texts
    assert name.get_text() == "guessing" and name.get_fontsize() == 9
    assert name.xy == (20, 0.45) and name.xyann == (4, -9)  # points: right of the line, below
    assert ax.get_xlabel() == "accuracy on query images (%)"
    assert all(line.get_linestyle() != ":" for line in ax.lines[:before])


def test_a_band_has_a_line_and_an_area_in_the_colour_of_its_method(ax):
    scores = [Scores.of([1.0, 2.0]), Scores.of([2.0, 3.0])]
    assert plotting.band(ax, [1, 2], scores, label="MAML") is ax
    assert ax.lines[0].get_xdata().tolist() == [1, 2]
    assert ax.lines[0].get_ydata().tolist() == [1.5, 2.5]
    assert ax.lines[0].get_color() == COLOURS["MAML"]
    (area,) = ax.collections
    assert to_hex(area.get_facecolor()[0]) == COLOURS["MAML"].lower()
    heights = area.get_paths()[0].vertices[:, 1]
    assert area.get_alpha() == 0.2 and area.get_linewidth() == 0
    assert heights.min() == pytest.approx(1.5 - scores[0].half_width)
    assert heights.max() == pytest.approx(2.5 + scores[1].half_width)
    assert ax.get_legend_handles_labels()[1] == ["MAML"]


def test_a_band_takes_scale_colour_and_line(ax):
    score = Scores.of([0.5, 0.6])
    plotting.band(ax, [1], [score], label="MAML", scale=100, colour="#123456", line="--")
    assert ax.lines[0].get_ydata()[0] == pytest.approx(55)
    assert ax.lines[0].get_color() == "#123456" and ax.lines[0].get_linestyle() == "--"
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.max() - heights.min() == pytest.approx(200 * score.half_width)


def test_groups_of_intervals_stand_beside_each_other(ax):
    scores = {"script": Scores.of([0.1, 0.2]), "scale": Scores.of([0.3, 0.5])}
    plotting.intervals(ax, scores, label="one", colour="black", shift=0.2)
    plotting.intervals(ax, scores, label="two", colour="red", marker="s", shift=-0.2)
    points = [c[0] for c in ax.containers]
    assert [p.get_ydata()[0] for p in points] == pytest.approx([0.2, -0.8, -0.2, -1.2])
    assert [p.get_xdata()[0] for p in points] == pytest.approx([15, 40, 15, 40])
    assert [p.get_color() for p in points] == ["black", "black", "red", "red"]
    assert [p.get_marker() for p in points] == ["o", "o", "s", "s"]
    assert ax.get_legend_handles_labels()[1] == ["one", "two"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["script", "scale"]
    assert ax.get_yticks().tolist() == [0, -1]
    (interval,) = ax.containers[1][2][0].get_segments()
    assert interval[1, 0] - interval[0, 0] == pytest.approx(200 * scores["scale"].half_width)


def test_a_group_of_intervals_stands_on_its_lines_unless_it_is_shifted(ax):
    scores = {"script": Scores.of([0.1, 0.2]), "scale": Scores.of([0.3, 0.5])}
    assert plotting.intervals(ax, scores, label="one", colour="black") is ax
    assert [c[0].get_ydata()[0] for c in ax.containers] == [0, -1]
    ends = ax.containers[0][1]
    assert {cap.get_markersize() for cap in ends} == {8}  # 4 points to each side


def test_a_number_is_white_above_six_tenths_of_the_strongest_colour(ax):
    values = {("a", "a"): 0.6, ("a", "b"): 0.61, ("b", "a"): -0.59, ("b", "b"): -0.61}
    assert plotting.matrix(ax, values, ["a", "b"], limit=1) is ax
    assert [t.get_color() for t in ax.texts] == ["black", "white", "black", "white"]
    assert {t.get_fontsize() for t in ax.texts} == {8}
    assert {(t.get_ha(), t.get_va()) for t in ax.texts} == {("center", "center")}
    assert {(t.get_rotation(), t.get_ha()) for t in ax.get_xticklabels()} == {(30, "right")}
    assert not any(spine.get_visible() for spine in ax.spines.values())


def test_a_matrix_leaves_out_pairs_without_a_value(ax):
    values = {("a", "b"): -0.04, ("b", "a"): -3.0}
    plotting.matrix(ax, values, ["a", "b"], limit=3, bold=[("b", "a")])
    assert [t.get_text() for t in ax.texts] == ["+0.0", "−3.0"]
    assert [t.get_weight() for t in ax.texts] == ["normal", "bold"]
    assert ax.texts[1].get_position() == (0, 1)  # row b, column a


def test_a_cell_of_a_matrix_has_the_colour_of_its_number(ax):
    values = {("a", "b"): 3.0, ("b", "a"): -3.0, ("b", "b"): 2.0}
    plotting.matrix(ax, values, ["a", "b"], limit=4, digits=2)
    table = ax.images[0].get_array()
    assert table.mask.tolist() == [[True, False], [False, False]]
    assert (table[0, 1], table[1, 0]) == (3, -3) and ax.images[0].get_clim() == (-4, 4)
    colours = ax.images[0].to_rgba([3.0, -3.0])
    assert colours[0, 2] > colours[0, 0] and colours[1, 0] > colours[1, 2]  # purple and orange
    assert [t.get_text() for t in ax.texts] == ["+3.00", "−3.00", "+2.00"]
    inks = [to_rgba(t.get_color()) for t in ax.texts]
    assert inks == [to_rgba(c) for c in ("white", "white", "black")]  # to be read on strong colours
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [t.get_text() for t in labels] == ["a", "b"]

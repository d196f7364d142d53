import pytest
import torch
import torch.nn.functional as F

from metalearn_lite.datasets import lookalikes
from metalearn_lite.datasets.lookalikes import distinct, likeness, same_letter, stretch


def bar(height, width):
    """A filled box in the middle of the picture."""
    picture = torch.zeros(28, 28)
    top, left = (28 - height) // 2, (28 - width) // 2
    picture[top : top + height, left : left + width] = 1
    return picture


def test_likeness_is_one_for_the_same_and_zero_for_strangers():
    left, right = torch.zeros(2, 28, 28)
    left[:, :10], right[:, 20:] = 1, 1
    alike = likeness(torch.stack([left, left, right])[None])
    torch.testing.assert_close(alike, torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]))


def test_likeness_is_the_largest_over_families():
    same, other = torch.stack([bar(20, 20)] * 2), torch.stack([bar(20, 2), bar(2, 20)])
    assert likeness(torch.stack([other, same]))[0, 1] == pytest.approx(1)


def test_letters_that_differ_in_proportion_alone_are_alike_once_stretched():
    wide, narrow = bar(20, 20), bar(20, 14)
    plain = likeness(torch.stack([wide, narrow])[None])[0, 1]
    stretched = likeness(stretch(torch.stack([wide, narrow]))[None])[0, 1]
    assert plain < 0.9 < 0.97 < stretched


def test_a_line_is_not_stretched_into_a_square():
    line, square = stretch(torch.stack([bar(20, 2), bar(20, 20)]))
    assert line.sum() < 0.3 * square.sum()


def test_stretching_follows_a_shift():
    shifted = bar(20, 12).roll((2, 3), (0, 1))
    torch.testing.assert_close(*stretch(torch.stack([bar(20, 12), shifted])), atol=1e-5, rtol=0)


def test_what_is_symmetric_stays_symmetric_and_fills_its_box():
    for turned in ((0,), (1,), (0, 1)):
        (made,) = stretch(bar(20, 14)[None])
        torch.testing.assert_close(made, made.flip(turned), atol=1e-5, rtol=0)
    rows, columns = ((made > 0.5).any(dim=k).sum() for k in (1, 0))
    assert abs(rows - columns) <= 1


def test_of_two_lookalikes_the_lower_script_keeps_its_letter():
    bitmaps = torch.stack([bar(20, 20), bar(20, 4), bar(20, 20)])[None]
    assert distinct(torch.tensor([1, 1, 0]), printed=bitmaps, penned=bitmaps) == [1, 2]
    assert distinct(torch.tensor([0, 0, 1]), printed=bitmaps, penned=bitmaps) == [0, 1]


def test_letters_of_one_script_are_compared_by_the_pen_alone():
    printed, penned = torch.stack([bar(20, 20)] * 2)[None], torch.stack([bar(20, 20), bar(20, 3)])
    assert distinct(torch.tensor([0, 0]), printed=printed, penned=penned[None]) == [0, 1]
    assert distinct(torch.tensor([0, 1]), printed=printed, penned=penned[None]) == [0]


def test_a_family_that_draws_another_shape_or_none_does_not_have_the_letter():
    first = torch.stack([bar(20, 20), bar(20, 4), bar(20, 20)])
    second = torch.stack([bar(20, 18), bar(4, 20), torch.zeros(28, 28)])
    assert same_letter(torch.stack([first, second])).tolist() == [[True] * 3, [True, False, False]]


def pair(cosine):
    """Two pictures of two pixels, in one family, that are so much alike."""
    return torch.tensor([[[[1.0, 0.0]], [[cosine, (1 - cosine**2) ** 0.5]]]])


@pytest.mark.parametrize(
    ("measure", "scripts", "apart", "alike"),
    [
        ("printed", [0, 1], 0.915, 0.925),
        ("penned", [0, 1], 0.915, 0.925),
        ("stretched", [0, 1], 0.95, 0.96),
        ("penned", [0, 0], 0.925, 0.935),
    ],
)
def test_letters_are_alike_from_a_threshold_on(measure, scripts, apart, alike, monkeypatch):
    for cosine, kept in ((apart, [0, 1]), (alike, [0])):
        pairs = dict.fromkeys(("printed", "penned", "stretched"), pair(0.0)) | {
            measure: pair(cosine)
        }
        stretched = pairs.pop("stretched")
        monkeypatch.setattr(lookalikes, "stretch", lambda _, found=stretched: found[0])
        assert distinct(torch.tensor(scripts), **pairs) == kept


def test_within_a_script_neither_print_nor_stretching_counts(monkeypatch):
    monkeypatch.setattr(lookalikes, "stretch", lambda _: pair(1.0)[0])
    assert distinct(torch.tensor([0, 0]), printed=pair(1.0), penned=pair(0.0)) == [0, 1]


@pytest.mark.parametrize(("cosine", "same"), [(0.69, False), (0.71, True)])
def test_a_letter_has_its_shape_in_another_family_from_a_threshold_on(cosine, same, monkeypatch):
    monkeypatch.setattr(lookalikes, "stretch", lambda bitmaps: bitmaps)
    families = pair(cosine).transpose(0, 1)
    assert same_letter(families).tolist() == [[True], [same]]


def blurred(picture):
    return F.avg_pool2d(picture[None, None], 3, stride=1, padding=1)[0, 0]


@pytest.mark.parametrize("sides", [(20, 20), (20, 10), (10, 20), (20, 16)])
def test_a_side_is_stretched_to_twenty_pixels_but_no_more_than_1_6_times(sides):
    (made,) = stretch(bar(*sides)[None])
    wanted = [min(20, 1.6 * side) for side in sides]
    assert made[14].sum().item() == pytest.approx(wanted[1], abs=0.01)
    assert made[:, 14].sum().item() == pytest.approx(wanted[0], abs=0.01)


def test_a_letter_that_fills_its_box_is_blurred_and_nothing_else():
    torch.testing.assert_close(stretch(bar(20, 20)[None])[0], blurred(bar(20, 20)))


def test_what_is_faint_does_not_belong_to_the_letter():
    thin, faint = bar(20, 10), torch.maximum(bar(20, 10), 0.3 * bar(20, 20))
    dark = torch.maximum(bar(20, 10), 0.31 * bar(20, 20))
    torch.testing.assert_close(
        stretch(faint[None])[0, 14, 14:20], stretch(thin[None])[0, 14, 14:20]
    )
    torch.testing.assert_close(stretch(dark[None])[0], blurred(dark))

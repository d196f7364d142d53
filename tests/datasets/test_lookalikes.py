import pytest
import torch

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

import pytest
import torch

from metalearn_lite.datasets import crop_to_ink


def test_a_cropped_drawing_does_not_depend_on_its_place_and_size():
    x = torch.zeros(5, 1, 60, 60)
    x[0, 0, 10:30, 20:22] = x[0, 0, 28:30, 20:34] = 1  # an L, 20 high and 14 wide
    x[1] = x[0].roll((17, -9), (-2, -1))
    x[2] = x[0, :, 5:35, 12:42].repeat_interleave(2, -1).repeat_interleave(2, -2)
    x[3, 0, 30, 30] = 1  # a dot, and a blank
    found = crop_to_ink(x, 48)
    assert found.shape == (5, 1, 48, 48) and found.min() >= 0 and found.max() <= 1
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=0)
    assert (found[0] - found[2]).abs().mean() < 0.04  # edges of a larger drawing are sharper
    rows, columns = (found[0, 0] > 0.5).any(1), (found[0, 0] > 0.5).any(0)
    assert rows.sum() == 40 and columns.sum() == 28  # of 48, with a tenth of the drawing around
    assert rows.nonzero().flatten().tolist() == list(range(4, 44))  # in the middle
    assert columns.nonzero().flatten().tolist() == list(range(10, 38))
    assert 1 <= (found[3] > 0.5).sum() <= 16  # a dot is not blown up
    assert not found[4].any()


def test_a_pixel_is_the_mean_of_the_points_within_it(generator):
    x = torch.rand(3, 1, 20, 20, generator=generator)
    x[:, :, 0] = x[:, :, -1] = 1  # ink from edge to edge: what is cut out is the whole
    fine = crop_to_ink(x, 120, margin=0.0, finer=1)
    means = fine.unflatten(-1, (40, 3)).unflatten(-3, (40, 3)).mean((-1, -3))
    torch.testing.assert_close(crop_to_ink(x, 40, margin=0.0, finer=3), means)
    torch.testing.assert_close(crop_to_ink(x, 20, margin=0.0, finer=1), x, atol=1e-5, rtol=0)


def test_the_drawings_are_not_changed(generator):
    x = torch.rand(2, 1, 20, 20, generator=generator)
    before = x.clone()
    crop_to_ink(x, 28)
    assert x.equal(before)


@pytest.mark.parametrize(
    ("x", "options", "match"),
    [
        (torch.zeros(3, 20, 20), {}, "n, 1, side, side"),
        (torch.zeros(3, 1, 20, 24), {}, "n, 1, side, side"),
        (torch.zeros(3, 3, 20, 20), {}, "n, 1, side, side"),
        (torch.zeros(3, 1, 20, 20, dtype=torch.uint8), {}, "floating"),
        (torch.zeros(3, 1, 20, 20), {"margin": -0.1}, "margin"),
        (torch.zeros(3, 1, 20, 20), {"finer": 0}, "finer"),
    ],
)
def test_what_is_no_drawing_is_refused(x, options, match):
    with pytest.raises(ValueError, match=match):
        crop_to_ink(x, 28, **options)

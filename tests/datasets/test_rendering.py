import math
import unicodedata

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metalearn_lite.datasets import rendering
from metalearn_lite.datasets.lookalikes import (
    LOOKALIKE,
    LOOKALIKE_STRETCHED,
    LOOKALIKE_WITHIN,
    stretch,
)
from metalearn_lite.datasets.rendering import FAMILIES, GLYPH_SPLIT, SCRIPTS
from metalearn_lite.randomness import seeded


@pytest.fixture(scope="module")
def drawn():
    return rendering.render_glyphs()


@pytest.fixture(scope="module")
def plain(drawn):
    """The letters as the fonts have them, (families, classes, 28, 28)."""
    return torch.stack([rendering.plain_bitmaps(drawn.characters, f) for f in FAMILIES])


@pytest.fixture
def one_family(monkeypatch):
    """Draw in one family only, for the tests that have to draw anew."""
    monkeypatch.setattr(rendering, "FAMILIES", {"DejaVu Sans": FAMILIES["DejaVu Sans"]})


def ink(drawn):
    return drawn.images.double().mean((2, 3)) / 255 * rendering.SIDE**2


def lean(images):
    """Covariance of upness and rightness of the ink over the variance of upness."""
    x = torch.arange(rendering.SIDE, dtype=torch.float64)
    mass = images.double() / images.double().sum((-2, -1), keepdim=True)
    up, right = -x[:, None], x[None, :]
    mean_up = (mass * up).sum((-2, -1), keepdim=True)
    mean_right = (mass * right).sum((-2, -1), keepdim=True)
    both = (mass * (up - mean_up) * (right - mean_right)).sum((-2, -1))
    return both / (mass * (up - mean_up) ** 2).sum((-2, -1)).clamp(min=1e-6)


def correlation_within_classes(a, b):
    """Correlation of two (classes, examples) tables, the mean of each class taken out."""
    a, b = (v.double() - v.double().mean(1, keepdim=True) for v in (a, b))
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def cosines(bitmaps):
    flat = bitmaps.double().flatten(1).numpy()
    length = np.maximum(np.linalg.norm(flat, axis=1), 1e-12)
    return (flat @ flat.T) / np.outer(length, length)


# form


def test_at_least_1200_letters_of_15_scripts_are_drawn_20_times(drawn):
    classes = len(drawn.characters)
    assert classes >= 1200 and len(set(drawn.groups)) >= 15
    assert drawn.images.shape == (classes, 20, 28, 28) and drawn.images.dtype == torch.uint8
    assert len(drawn.class_names) == len(drawn.groups) == classes
    assert drawn.images.min() == 0 and drawn.images.max() == 255


def test_the_classes_are_distinct_plain_letters(drawn):
    assert len(set(drawn.characters)) == len(set(drawn.class_names)) == len(drawn.characters)
    assert all(unicodedata.category(c)[0] == "L" for c in drawn.characters)
    assert all(unicodedata.normalize("NFKC", c) == c for c in drawn.characters)
    assert all(unicodedata.normalize("NFD", c) == c for c in drawn.characters)


def test_names_characters_and_scripts_belong_together(drawn):
    assert drawn.class_names == tuple(unicodedata.name(c) for c in drawn.characters)
    assert drawn.groups == tuple(rendering.script_of(c) for c in drawn.characters)
    examples = {"B": "Latin", "ა": "Georgian", "ߊ": "N'Ko", "ᐁ": "Canadian Aboriginal", "1": ""}
    assert {c: rendering.script_of(c) for c in examples} == examples


def test_every_image_has_ink_and_leaves_paper(drawn):
    mass = ink(drawn)
    assert mass.min() > 1 and mass.max() < 28 * 28 / 2


def test_no_two_drawings_of_a_letter_are_the_same(drawn):
    first, second = drawn.images[:, :-1], drawn.images[:, 1:]
    assert (first != second).flatten(2).any(2).all()


# randomness


@pytest.mark.long
def test_a_seed_gives_the_same_bytes_on_one_thread_and_on_two(one_family):
    threads = torch.get_num_threads()
    first = rendering.render_glyphs(examples=3)
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        again = rendering.render_glyphs(examples=3)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again.images, first.images)
    assert again.characters == first.characters
    assert all(torch.equal(again.factors[name], first.factors[name]) for name in first.factors)


@pytest.mark.long
def test_another_seed_gives_other_drawings_of_the_same_letters(one_family):
    global_state = torch.get_rng_state()
    one, other = (rendering.render_glyphs(seed=seed, examples=1) for seed in (0, 1))
    assert torch.equal(rendering.render_glyphs(examples=1).images, one.images)
    assert other.characters == one.characters
    assert (other.images != one.images).flatten(1).any(1).all()
    assert torch.equal(torch.get_rng_state(), global_state)


# look-alikes and the split


def test_no_letter_looks_like_one_of_another_script_in_any_family(drawn, plain):
    groups = np.array(drawn.groups)
    across = groups[:, None] != groups
    for bitmaps in plain:
        assert (cosines(bitmaps) * across).max() <= LOOKALIKE + 1e-6


def test_stretched_to_one_size_no_letter_looks_like_one_of_another_script(drawn):
    groups = np.array(drawn.groups)
    across = groups[:, None] != groups
    for family in FAMILIES:
        penned = rendering.plain_bitmaps(drawn.characters, family, pen=True)
        assert (cosines(penned) * across).max() <= LOOKALIKE + 1e-6
        assert (cosines(stretch(penned)) * across).max() <= LOOKALIKE_STRETCHED + 1e-6


def test_drawn_with_one_pen_no_two_letters_of_a_script_look_alike(drawn):
    for family in FAMILIES:
        alike = cosines(rendering.plain_bitmaps(drawn.characters, family, pen=True))
        np.fill_diagonal(alike, 0)
        assert alike.max() <= LOOKALIKE_WITHIN + 1e-6


@pytest.mark.long
def test_shapes_that_several_scripts_share_are_left_in_one():
    """A circle, and the capital A: Latin keeps both."""
    characters = rendering.render_glyphs(examples=1).characters
    assert not {"ⵔ", "ⴰ", "𐌀", "Α", "А"} & set(characters)


def test_of_two_cases_that_differ_only_in_size_one_is_left(drawn):
    assert all(len({c, c.upper()} & set(drawn.characters)) == 1 for c in "csvwxz")


def test_without_removal_the_test_scripts_hold_shapes_of_the_train_scripts(one_family):
    every = rendering.render_glyphs(examples=1, deduplicate=False)
    assert every.characters == rendering.letters()
    train, test = (
        torch.tensor([group in GLYPH_SPLIT[part] for group in every.groups])
        for part in ("train", "test")
    )
    alike = cosines(rendering.plain_bitmaps(every.characters, "DejaVu Sans")) > LOOKALIKE
    assert alike[train][:, test].any(0).sum() >= 10


def test_every_script_is_in_exactly_one_part_of_the_split(drawn):
    scripts = [script for part in GLYPH_SPLIT.values() for script in part]
    assert sorted(scripts) == sorted(set(drawn.groups)) == sorted(SCRIPTS.values())
    assert list(GLYPH_SPLIT) == ["train", "validation", "test"]
    assert {"Latin", "Greek", "Cyrillic"} <= set(GLYPH_SPLIT["train"])


def test_each_part_of_the_split_is_large_enough_for_20_ways(drawn):
    count = {
        part: sum(group in scripts for group in drawn.groups)
        for part, scripts in GLYPH_SPLIT.items()
    }
    assert count["validation"] >= 100 and count["test"] >= 200
    assert count["train"] > count["validation"] + count["test"]


# factors


def test_factors_have_one_value_for_each_image_and_a_name_for_each_code(drawn):
    expected = {"script", "family", "weight", "slant", "rotation", "shear", "scale", "stroke"}
    assert set(drawn.factors) == expected
    for name, values in drawn.factors.items():
        assert values.shape == drawn.images.shape[:2] and values.isfinite().all()
        assert values.dtype == (torch.int64 if name in drawn.factor_names else torch.float32)
    for name, names in drawn.factor_names.items():
        assert set(drawn.factors[name].unique().tolist()) == set(range(len(names)))


def test_factors_stay_in_readable_ranges(drawn):
    assert drawn.factors["rotation"].abs().max() < 60
    assert drawn.factors["scale"].min() > 0.4 and drawn.factors["scale"].max() < 1.8
    assert drawn.factors["stroke"].min() > 0.5 and drawn.factors["stroke"].max() < 3


def test_factors_are_spread_as_documented_in_the_source(drawn):
    rotation, shear, scale, stroke = (
        drawn.factors[name].double() for name in ("rotation", "shear", "scale", "stroke")
    )
    weight, slant = drawn.factors["weight"], drawn.factors["slant"]
    assert weight.double().mean() == pytest.approx(0.3, abs=0.02)
    assert slant.double().mean() == pytest.approx(0.3, abs=0.02)
    assert rotation.mean() == pytest.approx(0, abs=0.3)
    assert rotation.std() == pytest.approx(10, rel=0.02)
    for oblique in (0, 1):
        assert shear[slant == oblique].mean() == pytest.approx(0.3 * oblique, abs=0.01)
        assert shear[slant == oblique].std() == pytest.approx(0.15, rel=0.03)
    assert scale.median() == pytest.approx(0.9, rel=0.01)
    assert scale.log().std() == pytest.approx(0.12, rel=0.02)
    for bold in (0, 1):
        least = 1 + 0.6 * bold
        assert stroke[weight == bold].min() == pytest.approx(least, abs=0.01)
        assert stroke[weight == bold].max() == pytest.approx(least + 1, abs=0.01)


def test_the_script_factor_names_the_group(drawn):
    names = drawn.factor_names["script"]
    assert tuple(names[code] for code in drawn.factors["script"][:, 0]) == drawn.groups
    assert (drawn.factors["script"] == drawn.factors["script"][:, :1]).all()


def test_a_letter_is_only_written_in_families_that_have_it(drawn, plain):
    has = plain.flatten(2).any(2)
    classes = torch.arange(len(drawn.characters))[:, None]
    assert has[drawn.factors["family"], classes].all()
    written = torch.nn.functional.one_hot(drawn.factors["family"], len(FAMILIES)).any(1).T
    assert (written == has).float().mean() > 0.99


def test_a_thicker_stroke_and_a_larger_scale_put_down_more_ink(drawn):
    assert correlation_within_classes(drawn.factors["stroke"], ink(drawn)) > 0.5
    assert correlation_within_classes(drawn.factors["scale"], ink(drawn)) > 0.2


def test_bold_letters_have_more_ink_than_regular_ones(drawn):
    bold = drawn.factors["weight"] == 1
    assert ink(drawn)[bold].mean() > 1.15 * ink(drawn)[~bold].mean()


def test_positive_shear_and_oblique_slant_lean_to_the_right(drawn):
    leaning = lean(drawn.images)
    assert correlation_within_classes(drawn.factors["shear"], leaning) > 0.4
    oblique = drawn.factors["slant"] == 1
    assert leaning[oblique].mean() > leaning[~oblique].mean() + 0.1


def test_positive_rotation_turns_counter_clockwise(drawn):
    # A counter-clockwise turn takes the top of an upright letter to the left.
    assert correlation_within_classes(drawn.factors["rotation"], lean(drawn.images)) < -0.1


# steps


def test_plain_letters_are_20_pixels_long_and_in_the_middle(plain):
    dark, place, lengths = plain[0] > 0.25, torch.arange(rendering.SIDE), []
    for side in (dark.any(2), dark.any(1)):
        first, last = torch.where(side, place, 99).amin(1), torch.where(side, place, -1).amax(1)
        assert (first + last - (rendering.SIDE - 1)).abs().max() <= 2
        lengths.append(last - first + 1)
    longer = torch.maximum(*lengths)
    assert longer.min() >= 19 and longer.max() <= 21


def test_pixels_are_counted_from_the_middle_of_the_image():
    x, y = rendering._pixels(28).unbind(-1)
    steps = torch.arange(28) - 13.5
    assert torch.equal(x, steps.expand(28, 28)) and torch.equal(y, x.T)


def test_a_line_covers_as_much_as_it_is_wide():
    distance = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0])
    assert rendering._cover(distance, torch.tensor(2.0)).tolist() == [1, 1, 0.5, 0, 0]
    assert rendering._cover(distance, torch.tensor(0.5)).tolist() == [0.5, 0.25, 0, 0, 0]


def test_the_plain_pen_is_as_wide_as_it_is_said_to_be():
    distance = (torch.arange(56) - 27.5).abs().expand(1, 56, 56)
    ink = rendering._plain_pen(distance)
    assert ink.shape == (1, 28, 28)
    torch.testing.assert_close(ink.sum(2), torch.full((1, 28), 2.5))


def test_a_letter_is_printed_upright_in_the_middle_of_twice_as_many_pixels():
    (printed,) = rendering._print(["H"], "DejaVu Sans")
    assert printed.shape == (56, 56) and printed.max() == pytest.approx(1)
    rows = torch.where((printed > 0.5).any(1))[0]
    assert (rows.min(), rows.max()) == (8, 47)
    torch.testing.assert_close(printed, printed.flip(1), atol=0.1, rtol=0)
    torch.testing.assert_close(printed[12], printed[20], atol=0.02, rtol=0)


def test_a_letter_is_cut_out_without_empty_edges():
    font = rendering._font("DejaVu Sans")
    font.set_size(64, 72)
    ink = rendering._raster(font, "i")
    assert (ink > 127).sum() == (font.get_image() > 127).sum()
    assert all(side.max() > 127 for side in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))


def test_a_stem_is_printed_in_greys_as_wide_as_the_font_has_it():
    font = rendering._font("DejaVu Sans")
    font.set_size(64, 72)
    ink = rendering._raster(font, "l")
    assert ink[10].sum() / 255 == pytest.approx(64 * 184 / 2048, abs=0.05)
    assert (ink == ink[10])[3:-3].all()


def test_a_letter_is_as_printed_unless_a_pen_is_asked_for():
    usual = rendering.plain_bitmaps(["A"], "DejaVu Serif")
    assert torch.equal(usual, rendering.plain_bitmaps(["A"], "DejaVu Serif", pen=False))
    assert not torch.equal(usual, rendering.plain_bitmaps(["A"], "DejaVu Serif", pen=True))


def factors_of(**given):
    usual = {"family": 0, "rotation": 0.0, "shear": 0.0, "scale": 1.0, "stroke": 2.5}
    return {n: torch.as_tensor(v).reshape(1, -1) for n, v in (usual | given).items()}


def test_the_way_back_undoes_turn_shear_and_scale():
    turn, shear, scale = 0.5, 0.3, 1.2
    factors = factors_of(rotation=math.degrees(turn), shear=shear, scale=scale)
    (found,) = rendering._affine(factors, seeded(0)).double()
    aspect = math.exp(0.06 * torch.randn((), generator=seeded(0)))
    cos, sin = math.cos(turn), math.sin(turn)
    turned = torch.tensor([[cos, sin], [-sin, cos]])  # y points down
    sheared = torch.tensor([[1, -shear], [0, 1]])
    scaled = torch.tensor([scale * aspect, scale / aspect]).diag()
    expected = torch.linalg.inv((turned @ sheared @ scaled).double())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_field_bends_through_nine_knots_that_share_a_shift():
    field, generator = rendering._field(rendering._knots(5, seeded(0)), 28), seeded(0)
    shift = 1.3 * torch.randn((5, 2, 1, 1), generator=generator)
    knots = shift + 2 * torch.randn((5, 2, 3, 3), generator=generator)
    assert field.shape == (5, 28, 28, 2)
    for i, j in ((0, 0), (0, 2), (2, 0), (2, 2)):
        torch.testing.assert_close(field[:, 27 * i // 2, 27 * j // 2], knots[:, :, i, j])
    middle = field[:, 13:15, 13:15].mean((1, 2))
    torch.testing.assert_close(middle, knots[:, :, 1, 1], atol=0.1, rtol=0)


def test_a_drawing_is_inked_where_its_line_is_near_in_its_family_and_at_its_scale(monkeypatch):
    monkeypatch.setattr(rendering, "_affine", lambda f, _: torch.eye(2).expand(4, 2, 2))
    monkeypatch.setattr(rendering, "_knots", lambda n, _: torch.zeros(n, 2, 3, 3))
    distance = 5 * torch.rand(2, 2, 56, 56, generator=seeded(0))
    factors = factors_of(
        family=[0, 1, 1, 0], scale=[1.0, 1.2, 0.8, 1.0], stroke=[2.5, 2.0, 0.5, 3.0]
    )
    factors = {
        name: values.reshape(-1)[:4].expand(4).view(2, 2) for name, values in factors.items()
    }
    images = rendering._draw(distance, factors, 28, seeded(1))
    assert images.shape == (2, 2, 28, 28) and images.dtype == torch.uint8
    for letter, example in ((0, 0), (0, 1), (1, 0), (1, 1)):
        family, scale, stroke = (factors[k][letter, example] for k in ("family", "scale", "stroke"))
        pixels = F.avg_pool2d(distance[family, letter][None], 2)[0] * scale / 2
        inked = (255 * rendering._cover(pixels, stroke)).round()
        torch.testing.assert_close(images[letter, example].float(), inked, atol=1, rtol=0)


def test_beyond_the_edge_there_is_what_is_at_the_edge(monkeypatch):
    monkeypatch.setattr(rendering, "_knots", lambda n, _: torch.full((n, 2, 3, 3), 50.0))
    distance = torch.full((1, 1, 56, 56), 9.0)
    assert rendering._draw(distance, factors_of(), 28, seeded(0)).max() == 0


def test_a_letter_that_a_family_lacks_is_blank():
    bitmaps = rendering.plain_bitmaps(["A", "ᐁ"], "DejaVu Serif")
    assert bitmaps[0].any() and not bitmaps[1].any()


def test_a_larger_image_shows_the_same_drawing(one_family):
    small, large = (rendering.render_glyphs(examples=2, size=n) for n in (28, 84))
    assert large.images.shape[2:] == (84, 84)
    halved = torch.nn.functional.avg_pool2d(large.images.float(), 3)
    assert (halved - small.images).abs().mean() < 4  # of 255
    for name in small.factors:
        assert torch.equal(small.factors[name], large.factors[name])


@pytest.mark.parametrize("option", [{"examples": 0}, {"examples": -1}, {"seed": -1}, {"size": 0}])
def test_a_bad_argument_raises_and_names_what_is_expected(option):
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"got {name}={value}: expected"):
        rendering.render_glyphs(**option)


def test_an_unknown_family_raises_and_names_the_known_ones():
    with pytest.raises(ValueError, match=r"got family 'Comic Sans': expected one of .*DejaVu Sans"):
        rendering.plain_bitmaps(["A"], "Comic Sans")

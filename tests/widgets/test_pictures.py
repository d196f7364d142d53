"""Pictures that a page holds itself."""

import base64
import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from metalearn_lite.widgets.pictures import data_uri, in_few_colours, png_of


def test_a_figure_becomes_a_png_of_its_size_and_is_closed():
    fig, _ = plt.subplots(figsize=(2, 1), dpi=50)
    png = png_of(fig)
    assert Image.open(io.BytesIO(png)).size == (100, 50)
    assert not plt.fignum_exists(fig.number)


def test_it_is_a_png_whatever_the_style_of_figures_says():
    with plt.rc_context({"savefig.format": "svg"}):
        assert png_of(plt.figure(figsize=(1, 1))).startswith(b"\x89PNG")


def test_the_same_figure_gives_the_same_bytes():
    pngs = [png_of(plt.figure(figsize=(1, 1))) for _ in range(2)]
    assert pngs[0] == pngs[1] and b"Software" not in pngs[0]


def test_what_is_a_png_already_stays_as_it_is():
    assert png_of(b"png") == b"png"


def drawn_figure():
    fig, ax = plt.subplots(figsize=(4, 3), dpi=100)
    ax.plot([0, 1], [0, 1], color="#D55E00")
    ax.plot([0, 1], [1, 0], color="#0072B2")
    return png_of(fig)


def test_few_colours_take_fewer_bytes_and_look_the_same():
    png = drawn_figure()
    few = in_few_colours(png)
    before, after = (np.asarray(Image.open(io.BytesIO(p)).convert("RGB"), int) for p in (png, few))
    assert len(few) < 0.6 * len(png) and before.shape == after.shape
    assert len(np.unique(after.reshape(-1, 3), axis=0)) <= 32
    assert abs(before - after).mean() < 0.5 and abs(before - after).max() < 60


def test_a_thin_line_on_a_shaded_ground_keeps_its_colour():
    shades = np.repeat(np.arange(100, 250, dtype=np.uint8)[:, None], 300, axis=1)
    picture = Image.fromarray(np.stack([shades] * 3, axis=-1))
    for row, colour in {30: (213, 94, 0), 90: (0, 114, 178)}.items():
        picture.paste(colour, (50, row, 250, row + 2))
    file = io.BytesIO()
    picture.save(file, format="PNG")
    few = Image.open(io.BytesIO(in_few_colours(file.getvalue(), colours=64))).convert("RGB")
    for row, colour in {30: (213, 94, 0), 90: (0, 114, 178)}.items():
        assert np.abs(np.subtract(few.getpixel((150, row)), colour)).max() <= 30


def test_few_colours_on_white_and_smaller_if_asked():
    clear = io.BytesIO()
    Image.new("RGBA", (20, 10), (0, 0, 0, 0)).save(clear, format="PNG")
    image = Image.open(io.BytesIO(in_few_colours(clear.getvalue(), scale=0.5)))
    assert image.size == (10, 5) and image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert in_few_colours(drawn_figure()) == in_few_colours(drawn_figure())


def test_the_address_holds_the_picture():
    kind, _, content = data_uri(b"\x89PNG").partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(content) == b"\x89PNG"

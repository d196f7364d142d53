"""Pictures that a page holds itself."""

import base64
import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image

from metalearn_lite.widgets.pictures import data_uri, png_of


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


def test_the_address_holds_the_picture():
    kind, _, content = data_uri(b"\x89PNG").partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(content) == b"\x89PNG"

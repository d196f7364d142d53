"""Figures as PNG, and PNG as an address that holds the picture itself."""

import base64
import io

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image


def png_of(frame: Figure | bytes) -> bytes:
    """Return a figure, which is closed, as PNG; bytes are taken for a PNG already."""
    if isinstance(frame, bytes):
        return frame
    file = io.BytesIO()
    frame.savefig(file, format="png", metadata={"Software": None})
    plt.close(frame)
    return file.getvalue()


def in_few_colours(png: bytes, *, colours: int = 32, scale: float = 1.0) -> bytes:
    """Return a PNG with a palette, which takes fewer bytes, and ``scale`` times as wide."""
    image = Image.open(io.BytesIO(png))
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.convert("RGBA").getchannel("A"))
    if scale != 1:
        width, height = (max(1, round(scale * side)) for side in image.size)
        flat = flat.resize((width, height), Image.Resampling.LANCZOS)
    # one step of k-means: the median cut alone turns thin lines on a shaded ground grey
    cut = Image.Quantize.MEDIANCUT
    few = flat.quantize(colours, method=cut, kmeans=1, dither=Image.Dither.NONE)
    file = io.BytesIO()
    few.save(file, format="PNG", optimize=True)
    return file.getvalue()


def data_uri(png: bytes) -> str:
    """Return an address that needs no file beside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()

"""Figures as PNG, and PNG as an address that holds the picture itself."""

import base64
import io

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def png_of(frame: Figure | bytes) -> bytes:
    """Return a figure, which is closed, as PNG; bytes are taken for a PNG already."""
    if isinstance(frame, bytes):
        return frame
    file = io.BytesIO()
    frame.savefig(file, format="png", metadata={"Software": None})
    plt.close(frame)
    return file.getvalue()


def data_uri(png: bytes) -> str:
    """Return an address that needs no file beside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()

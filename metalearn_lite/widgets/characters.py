"""Draw five characters in the page, and see networks recognise a sixth drawing while it is drawn.

Everything is computed there: ``templates/engine.js`` runs the networks, ``templates/drawing.js``
the sheet, the answers and, in a worker where the browser has one, the gradient steps.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch.nn.functional as F
from IPython.display import HTML
from torch import Tensor

from metalearn_lite.arguments import check_counts, check_positive
from metalearn_lite.checkpoint import load_checkpoint
from metalearn_lite.datasets import glyphs
from metalearn_lite.judging import result_path
from metalearn_lite.models import Network, conv4
from metalearn_lite.plotting import COLOURS, UNNAMED
from metalearn_lite.widgets.engine import page_network
from metalearn_lite.widgets.filling import filled, part

WAYS = 5
SIDE = 105  # pixels of the sheet, as of Omniglot's drawings
INNER_STEPS, INNER_LR = 5, 0.1  # of MAML when the networks of the page were trained
TUNING_STEPS, TUNING_LR = 10, 0.03  # of fine-tuning them
TRAY = {"Georgian": 7, "Lao": 7, "N'Ko": 7}  # characters of scripts that no network has seen


@dataclass(frozen=True)
class Answering:
    """How a row of the page's table answers.

    Attributes:
        network: None compares pixels; alone, the nearest class mean of its features is taken.
        steps: gradient steps on the examples, at most; 0 takes prototypes.
        rate: their size.
        fresh_head: the steps begin with a head of zeros.
        company: the reader chooses which drawings the query is judged with.
    """

    network: Network | None = None
    steps: int = 0
    rate: float = 0.0
    fresh_head: bool = False
    company: bool = False

    def __post_init__(self) -> None:
        check_counts(steps=self.steps, least=0)
        if self.steps:
            check_positive(rate=self.rate)


def drawing(
    methods: Mapping[str, Answering], tray: Mapping[str, Tensor], *, label: str, about: str
) -> HTML:
    """Let the reader draw five characters and have methods recognise a sixth drawing.

    Args:
        methods: a row of answers each, by name; networks are for 28 x 28 pixels, cut out around
            the ink as by ``crop_to_ink``, with five outputs where they take steps.
        tray: for each script drawings to place, ``(characters, drawings, side, side)``, ink 1 on
            ground 0, of at least five characters and two drawings each.
        label: the question, the name of the whole.
        about: a sentence on what was learned beforehand.

    Returns:
        The HTML to display. Nothing of what the reader does leaves the page.

    Raises:
        ValueError: if a network or a tray does not fit.
    """
    rows = [
        {"name": name, "colour": COLOURS.get(name.partition(",")[0], UNNAMED)} | row(name, method)
        for name, method in methods.items()
    ]
    if not rows or not tray:
        raise ValueError(f"got {len(rows)} methods and {len(tray)} scripts: expected one at least")
    placed = {script: in_bits(script, images) for script, images in tray.items()}
    data = {"methods": rows, "tray": placed}
    return filled("drawing", label, data, scripts=("engine", "drawing"), about=about)


def row(name: str, method: Answering) -> dict[str, Any]:
    """Return what the page needs to know of a method."""
    if method.network is None:
        if method.steps:
            raise ValueError(f"{name} takes {method.steps} steps: expected a network to take them")
        return {}
    if method.steps and method.network.head.out_features != WAYS:
        raise ValueError(
            f"{name} has {method.network.head.out_features} outputs: expected {WAYS}, as many as "
            "characters are drawn; models.new_head makes such a head"
        )
    return vars(method) | {"network": page_network(method.network)}


def in_bits(script: str, images: Tensor) -> Sequence[Sequence[str]]:
    """Pack drawings at the size of the sheet, a bit a pixel."""
    if images.ndim != 4 or len(images) < WAYS or images.shape[1] < 2:
        raise ValueError(
            f"the drawings of {script} have shape {tuple(images.shape)}: expected (characters, "
            f"drawings, side, side), {WAYS} characters or more and 2 drawings or more"
        )
    large = F.interpolate(images.float().cpu(), (SIDE, SIDE), mode="bicubic")
    bits = np.packbits((large > 0.5).flatten(2).numpy(), axis=-1)
    return [[base64.b64encode(one.tobytes()).decode() for one in drawings] for drawings in bits]


def five_characters(label: str) -> HTML:
    """Show ``drawing`` with the course's own networks, ``results/page_networks.py``.

    Args:
        label: the question, the name of the whole.

    Returns:
        The HTML to display: nearest pixel, prototypes, fine-tuning and MAML, the last also with
        batch statistics, and glyphs of scripts that none of them has seen to place.
    """
    test = glyphs().split_groups()[2]
    tray = {}
    for script, count in TRAY.items():
        classes = [k for k, group in enumerate(test.groups) if group == script][:count]
        tray[script] = test.images[classes, :3, 0]
    about = part("five_characters.txt").strip()
    return drawing(course_methods(), tray, label=label, about=about)


def course_methods() -> dict[str, Answering]:
    """Return the rows of the table, with the networks as they are stored."""
    adapted = partial(Answering, steps=2 * INNER_STEPS, rate=INNER_LR)
    return {
        "nearest pixel": Answering(),
        "prototypes": Answering(stored("prototypes")),
        "fine-tuning": Answering(stored("fine-tuning"), TUNING_STEPS, TUNING_LR, fresh_head=True),
        "MAML": adapted(stored("MAML")),
        "MAML, batch statistics": adapted(stored("MAML, batch statistics"), company=True),
    }


def stored(name: str) -> Network:
    """Return one of the networks of ``results/page_networks.py``."""
    weights = load_checkpoint(result_path(f"page_networks/{file_name(name)}"))
    width = len(weights["features.0.bias"])
    model = conv4(WAYS, width, "batch" if "batch" in name else "group")
    model.load_state_dict(weights)
    return model


def file_name(network: str) -> str:
    """Return where the weights of a network lie."""
    return network.replace(", ", "_").replace(" ", "_") + ".zip"

"""Drag points of a sine wave in the page, and see networks adapt to them, or read them."""

from collections.abc import Mapping, Sequence
from typing import Any

from IPython.display import HTML

from metalearn_lite.arguments import check_counts
from metalearn_lite.in_context import SetTransformer
from metalearn_lite.models import Network
from metalearn_lite.plotting import UNNAMED
from metalearn_lite.widgets.engine import page_network
from metalearn_lite.widgets.filling import filled

RATES = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1)
PLACES = (-3.6, 0.4, 3.2, -1.4, 1.8, -4.6, 4.4, -2.4, 2.6, -0.4)  # the points, in their order
WAVES = ((3.0, 1.0), (1.5, 2.6), (4.6, 0.3), (2.2, 1.9))  # amplitudes and phases


def sines(
    models: Mapping[str, Network | SetTransformer],
    *,
    inner_lr: float,
    colours: Mapping[str, str],
    label: str,
    count: int = 5,
    steps: int = 1,
    most_steps: int = 10,
    waves: Sequence[tuple[float, float]] = WAVES,
) -> HTML:
    """Let the reader move up to ten points, and have every network adapt to them.

    Each network takes plain gradient steps on the mean squared error of the points, as
    ``maml.adapt`` does, in the page; a set transformer takes none, and reads the points.

    Args:
        models: networks from one number to one, by name.
        inner_lr: the step size at the beginning, one of ``RATES``.
        colours: of the networks, by name.
        label: the question, the name of the whole.
        count: points at the beginning.
        steps: steps at the beginning.
        most_steps: the most that the reader can choose.
        waves: amplitudes and phases of the waves on which the points begin to lie, in turn;
            amplitudes of at most 5.

    Returns:
        The HTML to display. Its bytes depend on the arguments alone.

    Raises:
        ValueError: if a number is outside what the page shows, or a network is not of one number.
    """
    check_counts(count=count, most_steps=most_steps)
    check_counts(steps=steps, least=0)
    fits = inner_lr in RATES and count <= len(PLACES) and steps <= most_steps
    if not models or not fits or not all(0 < amplitude <= 5 for amplitude, _ in waves):
        raise ValueError(
            f"got {len(models)} models, inner_lr={inner_lr}, {count} points, {steps} of "
            f"{most_steps} steps and waves {waves}: expected a model at least, a rate of {RATES}, "
            f"at most {len(PLACES)} points, and amplitudes above 0 and at most 5"
        )
    networks = {name: page_network(m, (1, 1, 1), digits=32) for name, m in models.items()}
    for name, network in networks.items():
        layers = network.get("layers", [network])
        if (ends := (layers[0].get("into"), layers[-1]["out"])) != (1, 1):
            raise ValueError(f"{name} maps {ends[0]} numbers to {ends[1]}: expected one to one")
    data: dict[str, Any] = {"networks": networks, "waves": [list(wave) for wave in waves]}
    data |= {"colours": {name: colours.get(name, UNNAMED) for name in models}, "places": PLACES}
    data |= {"rates": RATES, "rate": inner_lr, "count": count, "steps": steps, "most": most_steps}
    return filled("sines", label, data, scripts=("engine", "attention", "controls", "figure"))

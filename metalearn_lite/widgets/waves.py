"""Drag points of a sine wave in the page, and see learned starts adapt to them."""

from collections.abc import Mapping, Sequence

from IPython.display import HTML

from metalearn_lite.arguments import check_counts, check_positive
from metalearn_lite.models import Network
from metalearn_lite.plotting import UNNAMED
from metalearn_lite.widgets.engine import page_network
from metalearn_lite.widgets.filling import filled

RATES = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1)
PLACES = (-3.6, 0.4, 3.2, -1.4, 1.8, -4.6, 4.4, -2.4, 2.6, -0.4)  # the points, in their order
WAVES = ((3.0, 1.0), (1.5, 2.6), (4.6, 0.3), (2.2, 1.9))  # amplitudes and phases


def sines(
    models: Mapping[str, Network],
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
    ``maml.adapt`` does, in the page.

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
    if not models or inner_lr not in RATES or count > len(PLACES) or steps > most_steps:
        raise ValueError(
            f"got {len(models)} models, inner_lr={inner_lr}, {count} points and {steps} of "
            f"{most_steps} steps: expected a model at least, a rate of {RATES}, and at most "
            f"{len(PLACES)} points"
        )
    for amplitude, _ in waves:
        check_positive(amplitude=amplitude)
        if amplitude > 5:
            raise ValueError(f"amplitude is {amplitude}: expected at most 5, which is shown")
    networks = {name: page_network(m, (1, 1, 1), digits=32) for name, m in models.items()}
    for name, network in networks.items():
        ends = network["layers"][0].get("into"), network["layers"][-1]["out"]
        if ends != (1, 1):
            raise ValueError(f"{name} maps {ends[0]} numbers to {ends[1]}: expected one to one")
    data = {
        "networks": networks,
        "colours": {name: colours.get(name, UNNAMED) for name in models},
        "rates": RATES,
        "rate": inner_lr,
        "count": count,
        "steps": steps,
        "most": most_steps,
        "waves": [list(wave) for wave in waves],
        "places": PLACES,
    }
    return filled("sines", label, data, scripts=("engine", "controls", "figure"))

"""Ask for a guess before a result: what follows on the page waits until it is made.

On the built page the rest of the section is concealed until the reader has answered or asks to see
it without a guess. A search in the page, a link into it and a printer open it too; where no
JavaScript runs, and in Jupyter, nothing is concealed.
"""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from IPython.display import HTML

from metalearn_lite.widgets.filling import filled

Scale = tuple[float, float, float]


def prediction(
    question: str,
    *,
    answer: float,
    choices: Sequence[str] = (),
    scale: Scale | None = None,
    unit: str = "",
    told: str = "",
) -> HTML:
    """Ask the reader to predict a result, and show it beside the guess.

    Exactly one of ``choices`` and ``scale`` is given. Nothing that the reader does is stored or
    leaves the page.

    Args:
        question: one sentence.
        answer: the number of the right choice, from 0; or the value measured, on the scale.
        choices: what to choose from, two or more.
        scale: ``(least, most, step)`` of a line to place the guess on. The value measured is
            shown with one decimal more than the step, a whole number as it is.
        unit: of the numbers on the scale, such as ``"%"``.
        told: what is said after the answer.

    Returns:
        The HTML to display, as the last line of a cell of its own, which stands between the
        cells that compute the result and the cell that shows it.

    Raises:
        ValueError: if there is no question, if not exactly one of choices and scale is given,
            if the scale leads nowhere, or if the answer is not among the choices or not on
            the scale.
    """
    for name, text in {"question": question, "unit": unit, "told": told}.items():
        if not isinstance(text, str) or (name == "question" and not text.strip()):
            raise ValueError(f"{name} is {text!r}: expected text")
    if bool(choices) == (scale is not None):
        raise ValueError(
            f"got choices {choices!r} and scale {scale!r}: expected exactly one of them"
        )
    data: dict[str, Any] = {"told": told, "unit": unit}
    data |= (
        _on_a_scale(scale, answer, unit) if scale is not None else _among_choices(choices, answer)
    )
    return filled("prediction", question, data)


def _among_choices(choices: Sequence[str], answer: object) -> dict[str, Any]:
    """Check the choices, and that the answer is the number of one."""
    texts = [] if isinstance(choices, str) else list(choices)
    good = all(isinstance(text, str) and text.strip() for text in texts)
    if not good or len(texts) < 2 or len(set(texts)) < len(texts):
        raise ValueError(f"choices are {choices!r}: expected two or more different texts")
    whole = isinstance(answer, Integral) and not isinstance(answer, bool)
    if not whole or not 0 <= int(answer) < len(texts):  # type: ignore[call-overload]
        raise ValueError(
            f"answer is {answer!r}: expected the number of a choice, from 0 to {len(texts) - 1}"
        )
    return {"choices": texts, "answer": int(answer)}  # type: ignore[call-overload]


def _on_a_scale(scale: Scale, answer: object, unit: str) -> dict[str, Any]:
    """Check the scale and that the answer is on it; write the answer as the page shows it."""
    numbers = list(scale) if isinstance(scale, tuple | list) else []
    if len(numbers) != 3 or not all(_is_finite(number) for number in numbers):
        raise ValueError(f"scale is {scale!r}: expected three finite numbers, (least, most, step)")
    least, most, step = (float(number) for number in numbers)
    steps = (most - least) / step if step > 0 else 0.0
    if steps < 1 or abs(steps - round(steps)) > 1e-6:
        raise ValueError(
            f"scale is {scale!r}: expected least below most, and a step that leads from one to "
            "the other"
        )
    if not _is_finite(answer) or not least <= float(answer) <= most:  # type: ignore[arg-type]
        raise ValueError(
            f"answer is {answer!r}: expected a number from {least:g} to {most:g}; widen the scale "
            "for another one, and take a number out of a tensor with .item()"
        )
    value, decimals = float(answer), _decimals(step)  # type: ignore[arg-type]
    shown = f"{value:.{0 if isinstance(answer, Integral) else decimals + 1}f} {unit}".strip()
    return {
        "scale": [least, most, step],
        "answer": value,
        "decimals": decimals,
        "measured": shown.replace("-", "−"),
    }


def _is_finite(number: object) -> bool:
    """Say whether this is a number, neither infinite nor not a number, and no bool."""
    return isinstance(number, Real) and not isinstance(number, bool) and math.isfinite(number)


def _decimals(step: float) -> int:
    """Return how many decimals a step needs to be written, up to nine."""
    return next((d for d in range(9) if abs(round(step, d) - step) < 1e-12), 9)

"""Hand the numbers of a run to the text of its page."""

from typing import Any


def note(name: str, value: Any) -> None:
    """Glue a value under a name, for ``{glue:text}`` in the prose; nothing is shown.

    Args:
        name: spaces and points become hyphens, commas go: ``"5 shots"`` is ``5-shots``.
        value: a text or a number; ``Scores`` become per cent with their interval.
    """
    from myst_nb import glue  # of the book, not of the package

    text = value.percent() if hasattr(value, "percent") else value
    glue(name.replace(" ", "-").replace(".", "-").replace(",", ""), text, display=False)

"""What moves and answers in the page, and hands the numbers of a run to its text."""

from metalearn_lite.widgets.explorers import explorer
from metalearn_lite.widgets.notes import note
from metalearn_lite.widgets.pages import guess_game, stepper

__all__ = [
    "explorer",
    "guess_game",
    "note",
    "stepper",
]

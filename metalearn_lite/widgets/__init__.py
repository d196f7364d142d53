"""What moves and answers in the page, and hands the numbers of a run to its text."""

from metalearn_lite.widgets.characters import Answering, drawing, five_characters
from metalearn_lite.widgets.comparisons import order_of_methods, results_table
from metalearn_lite.widgets.engine import page_network
from metalearn_lite.widgets.explorables import bowls, solution_sets
from metalearn_lite.widgets.explorers import explorer
from metalearn_lite.widgets.guides import End, Question, guide
from metalearn_lite.widgets.landscapes import Valley, conflicts, directions, penalties
from metalearn_lite.widgets.notes import note
from metalearn_lite.widgets.pages import guess_game, stepper
from metalearn_lite.widgets.predictions import prediction
from metalearn_lite.widgets.waves import sines

__all__ = [
    "Answering",
    "End",
    "Question",
    "Valley",
    "bowls",
    "conflicts",
    "directions",
    "drawing",
    "explorer",
    "five_characters",
    "guess_game",
    "guide",
    "note",
    "order_of_methods",
    "page_network",
    "penalties",
    "prediction",
    "results_table",
    "sines",
    "solution_sets",
    "stepper",
]

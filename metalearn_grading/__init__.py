"""What only a teacher's machine needs: rooms behind walls, in which answers are asked.

``metalearn_lite.classroom`` says what runs where. Linux alone has it all.
"""

from metalearn_grading.asking import Room
from metalearn_grading.cells import names, needed
from metalearn_grading.walls import have_walls

__all__ = ["Room", "have_walls", "names", "needed"]

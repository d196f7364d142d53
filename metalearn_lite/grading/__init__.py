"""What only a teacher's machine needs: rooms behind walls, in which answers are asked.

``metalearn_lite.classroom`` says what runs where. Linux alone has it all.
"""

from metalearn_lite.grading.asking import Room
from metalearn_lite.grading.cells import names, needed
from metalearn_lite.grading.walls import have_walls

__all__ = ["Room", "have_walls", "names", "needed"]

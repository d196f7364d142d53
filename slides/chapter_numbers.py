"""The role ``{number}``, for pages and decks: a number that the run of a chapter glued."""

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

sys.path.insert(0, str(Path(__file__).parent))

import chapter_parts


class Number(SphinxRole):
    """A number that the run of a chapter glued."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the number as text."""
        try:
            chapter, _ = chapter_parts.split(self.text)
            self.env.note_dependency(str(chapter_parts.CHAPTERS / f"{chapter}.ipynb"))
            return [nodes.Text(chapter_parts.number(self.text))], []
        except ValueError as error:
            message = self.inliner.reporter.error(str(error), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the role."""
    app.add_role("number", Number())
    return {"parallel_read_safe": True}

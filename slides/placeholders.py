"""The placeholders of the decks: each is filled with a part of a chapter (chapter_parts).

The role ``{number}`` (chapter_numbers) stands in a sentence; the directives ``{chapter-figure}``,
``{chapter-frames}``, ``{chapter-equation}`` and ``{chapter-algorithm}`` stand alone. What
does not exist is an error at its line of the deck, and stops the build.
"""

from collections.abc import Callable
from typing import Any

import chapter_parts
from chapter_parts import Picture
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class FromChapter(SphinxDirective):
    """A directive whose argument names a part of a chapter."""

    required_arguments = 1
    final_argument_whitespace = True

    def take(self, read: Callable[..., Any], *arguments: str) -> Any:
        """Return the part, or turn the complaint into an error at this line."""
        try:
            return read(self.arguments[0], *arguments)
        except ValueError as error:
            raise self.error(str(error)) from None

    def picture(self, shown: Picture) -> nodes.figure:
        """Return a picture, with its caption where that does not answer a question."""
        image = nodes.image(uri=shown.uri, alt=shown.alt)
        if "without-caption" in self.options:
            return nodes.figure("", image)
        inline, _ = self.state.inline_text(shown.caption, self.lineno)
        return nodes.figure("", image, nodes.caption("", "", *inline))


class ChapterFigure(FromChapter):
    """A figure, with its caption and description."""

    option_spec = {"without-caption": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return the figure."""
        return [self.picture(self.take(chapter_parts.figure))]


class ChapterFrames(FromChapter):
    """Frames of a stepper, one after the other in the same place."""

    option_spec = {  # noqa: RUF012
        "frames": directives.unchanged_required,
        "without-caption": directives.flag,
    }

    def run(self) -> list[nodes.Node]:
        """Return the frames; all but the first wait for a key."""
        shown = self.take(chapter_parts.frames, self.options.get("frames", ""))
        stack = nodes.container(classes=["frames"])
        for index, frame in enumerate(shown):
            picture = self.picture(frame)
            picture["classes"] += ["fragment"] if index else []
            stack += picture
        return [stack]


class ChapterEquation(FromChapter):
    """An equation, without its number in the book."""

    def run(self) -> list[nodes.Node]:
        """Return the equation, to be typeset by MathJax."""
        latex = self.take(chapter_parts.equation)
        node = nodes.math_block(latex, latex, nowrap=False, label=None, number=None)
        node["docname"] = self.env.docname
        return [node]


class ChapterAlgorithm(FromChapter):
    """An algorithm in its box."""

    def run(self) -> list[nodes.Node]:
        """Return the box, its body parsed as Markdown."""
        title, body = self.take(chapter_parts.algorithm)
        box = nodes.container(classes=["algorithm"])
        content = [f"**{title}**", "", *body.splitlines()]
        self.state.nested_parse(StringList(content, self.arguments[0]), 0, box)
        return [box]


def keep_together(app: Sphinx, docname: str, source: list[str]) -> None:
    """Keep a per cent sign on the line of its number."""
    source[0] = source[0].replace("` %", "`\N{NO-BREAK SPACE}%")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the placeholders."""
    app.connect("source-read", keep_together)
    app.setup_extension("chapter_numbers")
    app.add_directive("chapter-figure", ChapterFigure)
    app.add_directive("chapter-frames", ChapterFrames)
    app.add_directive("chapter-equation", ChapterEquation)
    app.add_directive("chapter-algorithm", ChapterAlgorithm)
    return {"parallel_read_safe": True}

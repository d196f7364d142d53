"""What is folded says what it is: an exercise its kind and title, an answer whether it is right.

An exercise begins with a bold word, its kind ("**Predict.**"). The line that remains while its text
is folded shows number, kind and title: "Exercise 6.1 Predict Many inner steps". The solution below
it shows the number alone.

The options of a question say in bold what they are, "**Right.**" or "**Not quite.**", when they are
opened. The fold takes that as a class, so that the style sheet can show it by a sign and a colour.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

VERDICTS = {"Right.": "right", "Not quite.": "not-quite"}
KIND = re.compile(r"(Predict|Implement|Investigate)\b[.:]?\s*")  # also at the head of a title


class ExerciseTitles(SphinxPostTransform):
    """Write the kind of an exercise before its title."""

    default_priority = 22  # after sphinx-exercise has made the titles
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Go through the exercises of a page, and their solutions."""
        for box in self.document.findall(nodes.Admonition):
            if "exercise" in box["classes"]:
                say_kind(box.children[0], kind_of(box))
            elif "solution" in box["classes"]:
                leave_out_title(box.children[0])


def kind_of(exercise: nodes.Element) -> str | None:
    """Return the kind of an exercise by the first bold word of its text."""
    for strong in exercise.findall(nodes.strong):
        found = KIND.match(strong.astext())
        return found[1] if found else None
    return None


def say_kind(title: nodes.Element, kind: str | None) -> None:
    """Write a kind into a title, and the words of the title after it, without parentheses."""
    inside = [child.deepcopy() for child in title.children[1:-1]]
    if inside and isinstance(inside[0], nodes.Text):
        words = KIND.sub("", inside[0].astext(), count=1) if kind else inside[0].astext()
        inside[0] = nodes.Text(words[:1].upper() + words[1:])
    label = [nodes.inline("", kind, classes=["kind"]), nodes.Text(" ")] if kind else []
    title.children = []
    title += [nodes.Text(" "), *label, *inside]


def leave_out_title(title: nodes.Element) -> None:
    """Leave of a solution's line the number of its exercise, whose title stands just above."""
    for link in title.findall(nodes.reference):
        link.children = link.children[:1]


class Verdicts(SphinxPostTransform):
    """Mark the options of questions as right or not."""

    default_priority = 198
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Look at what follows each fold that is written as HTML."""
        for raw in list(self.document.findall(nodes.raw)):
            verdict = verdict_after(raw)
            if verdict and raw.astext().startswith("<details>"):
                marked = raw.astext().replace("<details>", f'<details class="{verdict}">', 1)
                raw.replace_self(nodes.raw("", marked, format="html"))


def verdict_after(raw: nodes.Node) -> str | None:
    """Return the class for the verdict that stands in bold right after a node."""
    after = raw.next_node(siblings=True, descend=False)
    said = after.children if isinstance(after, nodes.paragraph) else []
    first = next((child for child in said if child.astext()), None)
    return VERDICTS.get(first.astext()) if isinstance(first, nodes.strong) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transforms."""
    app.add_post_transform(ExerciseTitles)
    app.add_post_transform(Verdicts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""What belongs together stays on a line: a number and its interval, a formula and its full stop.

A browser breaks a line at any space, so that "76.7 ± 2.3 %" could come apart, and beside a formula
even where there is none, so that a full stop could begin a line. The style sheet keeps what is
marked here whole; in the narrow tables of a telephone a number may still part from its interval. A
long name of code may break, but between its parts. And a negative number has a minus sign: a run
hands it over with a hyphen, which is shorter, sits lower, and lets a line end behind it.
"""

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

KEPT = "\N{NO-BREAK SPACE}"
NUMBER = r"[-+\N{MINUS SIGN}]?\d+(?:[.,]\d+)*"
MEASURED = re.compile(rf"({NUMBER} ±{KEPT}{NUMBER})")
HYPHEN = re.compile(r"(?<![\w.-])-(?=\d)")  # that begins a number
AS_WRITTEN = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw)
SIGNATURE = addnodes.desc_signature  # with default values, which are code
WORD = 24  # characters of a word of code that fits on a line of a telephone
BEFORE, AFTER = re.compile(r"[^\s\w]*\Z"), re.compile(r"[^\s\w]*")  # punctuation, without a space
BETWEEN = re.compile(r"(?<=\d) (±|\\u00b1) (?=\d)")  # also as JSON writes it in a script
NEGATIVE = re.compile(rf"{HYPHEN.pattern}(?=[\d.,]+ (?:±|\\u00b1) \d)")  # in a script only with ±
NAME = re.compile(r'<span class="pre">([^<]*)</span>')
# where a name may break: behind a dot, a parenthesis and the like, and before an index
JOINT = re.compile(r"(?<=[A-Za-z0-9);][._/(=])(?=[A-Za-z0-9&])|(?<=\))(?=\[)")


class Unbroken(SphinxPostTransform):
    """Hold together what no line should break."""

    default_priority = 199  # after all that looks at the text
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Go through the text of a page, what moves in it, its commands, and its formulas."""
        for html in list(self.document.findall(nodes.raw)):
            if "html" in html.get("format", ""):
                signed = NEGATIVE.sub("\N{MINUS SIGN}", html.astext())
                html[:] = [nodes.Text(BETWEEN.sub(rf"{KEPT}\1{KEPT}", signed))]
        for text in list(self.document.findall(nodes.Text)):
            if not isinstance(text.parent, AS_WRITTEN) and not is_within(text, SIGNATURE):
                keep_numbers(text)
        for command in self.document.findall(nodes.literal):
            words = command.astext().split()
            if any(word.startswith("-") for word in words) and max(map(len, words)) <= WORD:
                command["classes"].append("whole-words")
        for formula in list(self.document.findall(nodes.math)):
            keep_punctuation(formula)


def keep_numbers(text: nodes.Text) -> None:
    """Mark each number that has an interval, tie units to numbers, and write minus signs."""
    kept = HYPHEN.sub("\N{MINUS SIGN}", text.astext())
    kept = re.sub(r"± (?=\d)", f"±{KEPT}", kept)
    kept = re.sub(r"(?<=\d) (?=%)", KEPT, kept)
    if kept.startswith(" %") and follows_a_number(text):
        kept = KEPT + kept[1:]
    if kept != text.astext():
        parts = MEASURED.split(kept)  # every second one is measured
        text.parent.replace(text, [piece(part, i % 2 == 1) for i, part in enumerate(parts) if part])


def piece(text: str, measured: bool) -> nodes.Node:
    """Return text as a node, marked if it is a number with its interval."""
    return nodes.inline("", text, classes=["measured"]) if measured else nodes.Text(text)


def follows_a_number(text: nodes.Text) -> bool:
    """Say whether a number, such as one handed over by a run, stands right before a text."""
    at = place(text)
    return at > 0 and text.parent[at - 1].astext()[-1:].isdigit()


def keep_punctuation(formula: nodes.math) -> None:
    """Wrap a formula together with the punctuation that touches it."""
    parent, at = formula.parent, place(formula)
    before, after = neighbour(parent, at - 1), neighbour(parent, at + 1)
    left, right = BEFORE.search(before), AFTER.match(after)
    if left and right and left[0] + right[0]:
        inside = [*words(left[0]), formula.deepcopy(), *words(right[0])]
        whole = nodes.inline("", "", *inside, classes=["together"])
        rest = [*words(before[: left.start()]), whole, *words(after[right.end() :])]
        parent[at - bool(before) : at + 1 + bool(after)] = rest


def neighbour(parent: nodes.Element, at: int) -> str:
    """Return the text that is a child of a node, nothing if there is none or another node."""
    found = parent.children[at] if 0 <= at < len(parent.children) else None
    return found.astext() if isinstance(found, nodes.Text) else ""


def words(text: str) -> list[nodes.Node]:
    """Return text as nodes: one, or none if it is empty."""
    return [nodes.Text(text)] if text else []


def place(node: nodes.Node) -> int:
    """Return the number of a node among its siblings; equal texts are different nodes."""
    return next(at for at, child in enumerate(node.parent.children) if child is node)


def is_within(node: nodes.Node, kind: type[nodes.Node]) -> bool:
    """Say whether a node stands in one of a kind, however deep."""
    parent = node.parent
    return parent is not None and (isinstance(parent, kind) or is_within(parent, kind))


def let_names_break(
    app: Sphinx, page: str, template: str, context: dict[str, Any], *_: Any
) -> None:
    """Offer a break within each name of code, in the HTML: the index of words keeps whole names."""
    if "body" in context:
        context["body"] = NAME.sub(in_parts, context["body"])


def in_parts(name: re.Match[str]) -> str:
    """Return a name with its breaks; one that may be too long for a telephone is marked."""
    long = " long" if len(name[1]) > WORD or "=&lt;" in name[1] else ""  # a default by a factory
    return f'<span class="pre{long}">{JOINT.sub("<wbr>", name[1])}</span>'


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform, and what is done to a page that is written."""
    app.add_post_transform(Unbroken)
    app.connect("html-page-context", let_names_break)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

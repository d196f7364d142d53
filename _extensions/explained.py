"""Words of the glossary explain themselves where a reader meets them.

Next to a reference to a term, a ``{term}`` of the text, stands its definition. The style sheet
shows it while the mouse is on the word or the keyboard's focus is, and ``terms.js`` closes it with
Escape. A screen reader hears it as the description of the link.

So that the text need not be full of roles, the first use of a term on a page becomes such a
reference by itself. Left alone are ordinary words, listed below, a word that the page explains
(it stands there in bold), and the words of the page's own title.
"""

import re
from collections.abc import Iterator
from html import escape
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

# Terms that mean something else as often as not: only a {term} refers to them.
ORDINARY = {
    *("adaptation", "alignment", "audit", "class", "conflict", "domain", "draw", "group"),
    *("n-way k-shot", "power", "selection", "shot", "skill", "source and target", "split", "task"),
    "way",
}
# Where running text is not: a word in there is a name, or is being explained.
ELSEWHERE = (
    *(nodes.reference, nodes.title, nodes.caption, nodes.literal, nodes.literal_block),
    *(nodes.math, nodes.math_block, nodes.strong, nodes.term, nodes.raw, nodes.rubric),
    addnodes.pending_xref,
)
EXCEPT = re.compile(r"glossary$|api|bibliography|notation|results/")  # pages left as they are


def definitions(env: BuildEnvironment) -> dict[str, nodes.Element]:
    """Return the terms of the glossary, as they are written there, with their definitions."""
    found = {}
    if env.config.glossary_page in env.found_docs:
        for item in env.get_doctree(env.config.glossary_page).findall(nodes.definition_list_item):
            for term in item.findall(nodes.term):
                found[term.astext()] = item.children[-1]
    return found


def singular(term: str) -> str:
    """Return the form under which a term is looked up."""
    lower = term.lower()
    return lower.removesuffix("ies") + "y" if lower.endswith("ies") else lower.removesuffix("s")


def pattern(terms: list[str]) -> re.Pattern[str]:
    """Return an expression that finds any of the terms, also in the plural."""
    forms = {singular(term) for term in terms}
    forms |= {form.removesuffix("y") + "ie" for form in forms if form.endswith("y")}
    either = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{either})s?(?![\w-])", re.IGNORECASE)


class FirstUses(SphinxPostTransform):
    """Turn the first use of each term on a page into a reference to it."""

    default_priority = 5  # before references are resolved
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Go through the text of the page, from the top."""
        if EXCEPT.match(self.env.docname) or not (terms := list(definitions(self.env))):
            return
        waiting = {singular(t): t for t in terms if singular(t) not in ORDINARY}
        expression = pattern(list(waiting.values()))
        for name in self.words(expression, self.document.next_node(nodes.title)):
            waiting.pop(name, None)
        for text in list(self.document.findall(nodes.Text)):
            self.refer(text, expression, waiting)

    def words(self, expression: re.Pattern[str], node: nodes.Node | None) -> Iterator[str]:
        """Yield the terms within a node."""
        for found in expression.findall(node.astext() if node else ""):
            yield singular(found)

    def refer(self, text: nodes.Text, expression: re.Pattern[str], waiting: dict[str, str]) -> None:
        """Put references in place of the terms of a text that still wait for their first use."""
        kinds = [type(parent) for parent in parents(text)]
        if nodes.strong in kinds or addnodes.pending_xref in kinds:
            for name in self.words(expression, text):
                waiting.pop(name, None)
        if nodes.paragraph not in kinds or any(issubclass(kind, ELSEWHERE) for kind in kinds):
            return
        parts: list[nodes.Node] = []
        end, whole = 0, text.astext()
        for match in expression.finditer(whole):
            term = waiting.pop(singular(match[0]), None)
            if term:
                parts += [nodes.Text(whole[end : match.start()]), self.reference(match[0], term)]
                end = match.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(whole[end:])])

    def reference(self, shown: str, term: str) -> nodes.Node:
        """Return what the role ``{term}`` makes."""
        inline = nodes.inline("", shown, classes=["xref", "std", "std-term"])
        options = {"refdomain": "std", "reftype": "term", "reftarget": term, "refwarn": True}
        return addnodes.pending_xref("", inline, refdoc=self.env.docname, **options)


class Explanations(SphinxPostTransform):
    """Put its definition beside each reference to a term."""

    default_priority = 20  # after references are resolved
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Replace the references of a page by links with an explanation."""
        found = list(self.document.findall(is_term))
        if not found or self.env.docname == self.config.glossary_page:
            return
        known = {term_id(term): definition for term, definition in definitions(self.env).items()}
        for index, reference in enumerate(found):
            address = reference.get("refuri", "")
            definition = known.get(address.partition("#")[2])
            if definition is not None:
                html = self.explained(reference.astext(), address, definition, index)
                word = nodes.Text(reference.astext())
                reference.replace_self(Explained("", word, html=html))

    def explained(self, shown: str, address: str, definition: nodes.Element, index: int) -> str:
        """Return a link and its explanation as HTML, all of it within a line."""
        name = f"explained-{index}"
        return (
            f'<span class="explained"><a class="reference internal" href="{escape(address)}" '
            f'aria-describedby="{name}">{escape(shown)}</a>'
            f'<span class="definition" role="tooltip" id="{name}">{self.html(definition)}</span>'
            "</span>"
        )

    def html(self, definition: nodes.Element) -> str:
        """Return a definition as HTML without paragraphs, which cannot stand in a paragraph."""
        line = nodes.inline()
        for paragraph in definition.findall(nodes.paragraph):
            line += [child.deepcopy() for child in paragraph.children]
        for inner in list(line.findall(addnodes.pending_xref)):
            inner.replace_self(inner.children)
        if next(iter(line.findall(nodes.math)), None):
            self.env.get_domain("math").data["has_equations"][self.env.docname] = True
        fragment: str = self.app.builder.render_partial(line)["fragment"]  # type: ignore[attr-defined]
        return fragment


class Explained(nodes.Element):  # type: ignore[misc]
    """A word with its explanation as HTML, which the search on a page does not see."""


def visit_explained(translator: Any, node: Explained) -> None:
    """Write the word and its explanation into a page."""
    translator.body.append(node["html"])
    raise nodes.SkipNode


def is_term(node: nodes.Node) -> bool:
    """Say whether a node is a resolved reference to a term."""
    inner = node.children[0] if isinstance(node, nodes.reference) and node.children else None
    return isinstance(inner, nodes.inline) and "std-term" in inner["classes"]


def term_id(term: str) -> str:
    """Return the anchor that Sphinx gives to a term."""
    return "term-" + re.sub(r"[^\w.]+", "-", term).strip("-")


def parents(node: nodes.Node) -> Iterator[nodes.Element]:
    """Yield all that a node stands in, from the inside."""
    while node.parent is not None:
        node = node.parent
        yield node


def read_again(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> set[str]:
    """Have all pages made again when a definition changed."""
    stale = app.config.glossary_page in added | changed and not removed & env.found_docs
    return set(env.found_docs) if stale else set()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register option and transforms."""
    app.add_config_value("glossary_page", "glossary", "env", [str])
    app.add_node(Explained, html=(visit_explained, None))
    app.add_post_transform(FirstUses)
    app.add_post_transform(Explanations)
    app.connect("env-get-outdated", read_again)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Read what Markdown, notebooks and bibliographies point to, and what can be pointed to."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin
from mdit_py_plugins.myst_role import myst_role_plugin
from pybtex.database import parse_file

Kind = Literal["address", "path", "page", "label", "doi", "arxiv", "none"]

ROLES: dict[str, Kind] = {"doc": "page", "download": "path"}
ROLES |= {"ref": "label", "numref": "label", "eq": "label", "prf:ref": "label"}
NAMES_A_FILE = ("figure", "image", "include", "literalinclude")
NOT_MARKDOWN = ("code", "code-block", "code-cell", "eval-rst", "literalinclude", "math", "raw")
DIRECTIVE = re.compile(r"\{([\w:-]+)\}\s*(.*)")
LABEL_OPTION = re.compile(r"^:(?:label|name):\s*(\S+)\s*$", re.MULTILINE)
IN_HTML = re.compile(r"""\b(?:href|src)=["']([^"']*)["']""")
ARXIV = re.compile(r"arXiv:\s*(\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """What a place points to: ``where`` names the place for a reader."""

    where: str
    kind: Kind
    target: str


@dataclass
class Page:
    """What a file points to; by what names its own parts can be pointed to, in small letters."""

    path: Path
    links: list[Link] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    headings: set[str] = field(default_factory=set)


def parser() -> MarkdownIt:
    """Return a parser that knows the parts of MyST in which links stand."""
    found = MarkdownIt("commonmark", {"linkify": True}).enable(["table", "linkify"])
    for plugin in (front_matter_plugin, dollarmath_plugin, myst_role_plugin):
        found.use(plugin)
    assert found.linkify is not None
    found.linkify.set({"fuzzy_link": False, "fuzzy_email": False})
    return found.use(colon_fence_plugin).use(myst_block_plugin)


def slug(heading: str) -> str:
    """Return the anchor that a code host gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def kind_of(target: str) -> Kind:
    return "address" if re.match(r"[a-z][a-z+.-]+:", target, re.IGNORECASE) else "path"


def read_text(page: Page, text: str, where: str, line: int | None = 1) -> None:
    """Add what a text in Markdown holds; without ``line`` a place is named by ``where`` alone."""
    for token in parser().parse(text):
        start = (token.map or [0])[0]
        here = None if line is None else line + start
        place = where if here is None else f"{where}:{here}"
        if token.type in ("fence", "colon_fence"):
            read_directive(page, token, where, here)
        elif token.type == "myst_target":
            page.labels.add(token.content.lower())
        elif token.type == "math_block_label":
            page.labels.add(token.info.lower())
        elif token.type == "html_block":
            add_html(page, token.content, place)
        elif token.type == "inline":
            read_inline(page, token.children or [], where, here)
            page.headings.add(slug(plain(token.children or [])))


def read_directive(page: Page, token: Token, where: str, line: int | None) -> None:
    """Add what a directive names; its content is Markdown, but for a few."""
    match = DIRECTIVE.match(token.info)
    if match is None:
        return
    name, argument = match.groups()
    if name in NAMES_A_FILE:
        place = where if line is None else f"{where}:{line}"
        page.links.append(Link(place, kind_of(argument), argument))
    page.labels |= {label.lower() for label in LABEL_OPTION.findall(token.content)}
    if name not in NOT_MARKDOWN:
        read_text(page, token.content, where, None if line is None else line + 1)


def read_inline(page: Page, tokens: list[Token], where: str, line: int | None) -> None:
    for token in tokens:
        place = where if line is None else f"{where}:{line}"
        if token.type in ("softbreak", "hardbreak") and line is not None:
            line += 1
        elif token.type in ("link_open", "image"):
            target = str(token.attrs.get("href", token.attrs.get("src")))
            page.links.append(Link(place, kind_of(target), target))
            read_inline(page, token.children or [], where, line)
        elif token.type == "myst_role" and token.meta["name"] in ROLES:
            given = re.search(r"<([^<>]*)>$", token.content)
            target = given[1] if given else token.content
            page.links.append(Link(place, ROLES[token.meta["name"]], target))
        elif token.type == "html_inline":
            add_html(page, token.content, place)
        elif token.type == "text" and (broken := re.search(r"\]\([^)]*\)?", token.content)):
            page.links.append(Link(place, "none", broken[0][1:]))


def add_html(page: Page, html: str, place: str) -> None:
    for target in IN_HTML.findall(html):
        if not target.startswith("data:"):
            page.links.append(Link(place, kind_of(target), target))


def plain(tokens: list[Token]) -> str:
    return "".join(token.content for token in tokens if token.type in ("text", "code_inline"))


def read_notebook(page: Page, cells: list[dict[str, Any]], where: str) -> None:
    """Add what the cells of text hold, and the names of figures."""
    for number, cell in enumerate(cells, start=1):
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        page.labels |= {figure["name"].lower()} if "name" in figure else set()
        if cell["cell_type"] == "markdown":
            read_text(page, "".join(cell["source"]), f"{where}, cell {number}", None)


def read_bibliography(page: Page, where: str) -> None:
    """Add the addresses of all entries, their DOIs and their numbers at arXiv."""
    for key, entry in parse_file(str(page.path)).entries.items():
        place = f"{where}, {key}"
        fields = {name.lower(): text.strip() for name, text in entry.fields.items()}
        if "url" in fields:
            page.links.append(Link(place, "address", fields["url"].replace("\\", "")))
        if "doi" in fields:
            page.links.append(Link(place, "doi", fields["doi"].replace("\\", "")))
        if fields.get("archiveprefix", "").lower() == "arxiv":
            page.links.append(Link(place, "arxiv", fields.get("eprint", "")))
        for text in fields.values():
            page.links += [Link(place, "arxiv", number) for number in ARXIV.findall(text)]


def read_page(path: Path, root: Path) -> Page:
    page, where = Page(path), path.relative_to(root).as_posix()
    if path.suffix == ".bib":
        read_bibliography(page, where)
    elif path.suffix == ".ipynb":
        read_notebook(page, json.loads(path.read_text(encoding="utf-8"))["cells"], where)
    else:
        read_text(page, path.read_text(encoding="utf-8"), where)
    return page


def files(root: Path) -> Iterator[Path]:
    """Go through what is written by hand: not what is built, and no hidden folder."""
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name in ("_build", "dist", "course"):
            continue
        if path.is_dir():
            yield from files(path)
        elif path.suffix in (".md", ".ipynb", ".bib"):
            yield path

"""The course at a glance: its map, its core path, and the time that it takes.

Nothing of it is typed twice. Order and parts are those of ``_toc.yml``; the core path and the pace
of a reader are options of ``_config.yml``; titles, questions and measured run times are read from
the chapters as they are stored.

- ``{time}`` is a role for a sentence: ``{time}`read:maml```, ``{time}`run:whole```,
  ``{time}`read:core``` or ``{time}`pace```.
- ``{course-map}`` draws the chapters as stations of a line, those of the core path on the line and
  the others beside it.
- ``{core-path}`` lists the chapters of the core path.
"""

import json
import math
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective, SphinxRole

CHAPTERS = "chapters/"
RUN = re.compile(r"about (\d+) seconds on two")  # as tools/run_chapters.py writes it
# What is no running text: directives with exercises and solutions, questions, equations, comments.
BLOCKS = (
    r"^```\{(exercise|solution)-start\}.*?^```\{\1-end\}\n```$",
    r'^<div class="question".*?^</details>\n+</div>$',
    r"^```\{.*?^```$",
    r"^\$\$.*?^\$\$.*?$",
    r"<!--.*?-->",
)
KINDS = ("core", "side")
CORE, SIDE = 20, 44  # where the two tracks of the map run, in pixels


@dataclass(frozen=True)
class Chapter:
    """A chapter as a reader who plans meets it."""

    name: str
    part: str
    number: int
    title: str
    question: str
    words: int
    seconds: int
    core: bool


def prose(path: Path) -> str:
    """Return the text of a notebook, all Markdown cells together."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def words(text: str) -> int:
    """Count the words of running text."""
    for block in BLOCKS:
        text = re.sub(block, "", text, flags=re.MULTILINE | re.DOTALL)
    return len(text.split())


def read(path: Path, *, part: str, number: int, core: bool) -> Chapter:
    """Read what is told of a chapter.

    Raises:
        ValueError: if the chapter has no title, no question below it, or no run time.
    """
    text = prose(path)
    head = re.search(r"^# ([^\n]+)\n+\*([^*]+)\*$", text, re.MULTILINE)
    run = RUN.search(" ".join(text.split()))
    if head is None or run is None:
        raise ValueError(
            f"{path.name}: expected '# Title', below it '*Its question?*', and somewhere "
            "'about 60 seconds on two CPU cores'"
        )
    question = " ".join(head[2].split())
    return Chapter(path.stem, part, number, head[1], question, words(text), int(run[1]), core)


def chapters(source: Path, core: list[str]) -> list[Chapter]:
    """Return the chapters in the order of the book.

    Args:
        source: the folder of the book.
        core: names of the chapters of the core path.

    Raises:
        ValueError: if the core path names a chapter that the book has not.
    """
    toc = yaml.safe_load((source / "_toc.yml").read_text(encoding="utf-8"))
    files = [(part["caption"], page["file"]) for part in toc["parts"] for page in part["chapters"]]
    listed = [(part, file) for part, file in files if file.startswith(CHAPTERS)]
    known = [file.removeprefix(CHAPTERS) for _, file in listed]
    if unknown := sorted(set(core) - set(known)):
        raise ValueError(f"core_path in _config.yml names {unknown}: expected some of {known}")
    return [
        read(source / f"{file}.ipynb", part=part, number=index, core=name in core)
        for index, ((part, file), name) in enumerate(zip(listed, known, strict=True), start=1)
    ]


def reading_minutes(chosen: list[Chapter], pace: int) -> int:
    """Return how long the running text of chapters takes at so many words a minute."""
    return math.ceil(sum(chapter.words for chapter in chosen) / pace)


def spoken(minutes: int) -> str:
    """Return a duration in words: minutes up to an hour and a half, beyond that half hours."""
    if minutes <= 90:
        return f"{minutes} minute{'s' * (minutes != 1)}"
    halves = round(minutes / 30)
    half = "½" * (halves % 2)
    return f"{halves // 2}{half} hours"


def duration(key: str, all_chapters: list[Chapter], pace: int) -> str:
    """Return what the role shows for a key such as ``read:maml`` or ``run:whole``.

    Raises:
        ValueError: if the key is none of those that the module lists.
    """
    if key == "pace":
        return f"{pace} words a minute"
    kind, _, which = key.partition(":")
    groups = {chapter.name: [chapter] for chapter in all_chapters}
    groups |= {"whole": all_chapters, "core": [c for c in all_chapters if c.core]}
    if kind not in ("read", "run") or which not in groups:
        raise ValueError(
            f"got the time {key!r}: expected pace, or read: or run: with one of {sorted(groups)}"
        )
    if kind == "read":
        return spoken(reading_minutes(groups[which], pace))
    seconds = sum(chapter.seconds for chapter in groups[which])
    return f"{seconds} seconds" if len(groups[which]) == 1 else spoken(math.ceil(seconds / 60))


def course(env: BuildEnvironment) -> list[Chapter]:
    """Return the chapters, and note that the page has to be read again when one changes."""
    found = chapters(Path(env.srcdir), env.config.core_path)
    for chapter in found:
        env.note_dependency(str(Path(env.srcdir, CHAPTERS, f"{chapter.name}.ipynb")))
    env.note_dependency(str(Path(env.srcdir, "_toc.yml")))
    return found


class Time(SphinxRole):
    """How long it takes to read or to run."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the time as text."""
        try:
            shown = duration(self.text, course(self.env), self.config.words_a_minute)
        except ValueError as error:
            message = self.inliner.reporter.error(str(error), line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        return [nodes.Text(shown.replace(" ", "\N{NO-BREAK SPACE}"))], []


class CourseMap(SphinxDirective):
    """The map of the course."""

    def run(self) -> list[nodes.Node]:
        """Return the place of the map, which is drawn when the addresses of pages are known."""
        course(self.env)  # the page depends on it
        return [nodes.container("", classes=["course-map-here"])]


class DrawMaps(SphinxPostTransform):
    """Draw each map in its place."""

    default_priority = 198
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Replace the places by HTML."""
        for place in list(self.document.findall(nodes.container)):
            if "course-map-here" in place["classes"]:
                place.replace_self(nodes.raw("", self.drawing(), format="html"))

    def drawing(self) -> str:
        """Return the map with links from this page."""
        found = course(self.env)
        pages = [f"{CHAPTERS}{chapter.name}" for chapter in found]
        links = [self.app.builder.get_relative_uri(self.env.docname, page) for page in pages]
        return drawn(found, links, self.config.words_a_minute)


class CorePath(SphinxDirective):
    """The chapters of the core path as a list, with their questions."""

    def run(self) -> list[nodes.Node]:
        """Return the list, parsed as Markdown."""
        core = [chapter for chapter in course(self.env) if chapter.core]
        lines = [f"1. {{doc}}`/{CHAPTERS}{c.name}`: {c.question}" for c in core]
        return self.parse_text_to_nodes("\n".join(lines))


def tracks(core: list[bool], at: int) -> tuple[str, str]:
    """Draw the piece of the map beside one station, 100 high: the line, and the way beside it.

    Args:
        core: for each station whether it lies on the line.
        at: the station.

    Returns:
        Two paths of SVG; an empty one where nothing runs.
    """
    before, after = at > 0, at + 1 < len(core)
    first, last = not any(core[:at]), not any(core[at + 1 :])
    if core[at]:
        line = f"M{CORE},{50 if first else 0} V{50 if last else 100}"
        into = f"M{CORE},0 V50" if first and before else ""
        out = f"M{CORE},50 V100" if last and after else ""
    else:
        line = "" if first or last else f"M{CORE},0 V100"
        into = bend(CORE if core[at - 1] else SIDE, SIDE, 0) if before else ""
        out = bend(SIDE, CORE if core[at + 1] else SIDE, 50) if after else ""
    return line, f"{into} {out}".strip()


def bend(start: int, end: int, top: int) -> str:
    """Return half a piece of track, from the height `top` down, as a path of SVG."""
    return f"M{start},{top} C{start},{top + 25} {end},{top + 25} {end},{top + 50}"


def station(chapter: Chapter, paths: tuple[str, str], link: str, pace: int) -> str:
    """Return a station as HTML: its piece of track, title, question and times."""
    line, side = (f'<path class="{kind}" d="{d}"/>' for kind, d in zip(KINDS, paths, strict=True))
    read = spoken(reading_minutes([chapter], pace))
    times = f"{read} to read, {chapter.seconds} seconds to run"
    return f"""<li class="{KINDS[not chapter.core]}">
<svg aria-hidden="true" viewBox="0 0 64 100" preserveAspectRatio="none">{side}{line}</svg>
<span class="stop"></span>
<p class="station"><a href="{escape(link)}">{chapter.number}. {escape(chapter.title)}</a>
<span class="asked">{escape(chapter.question)}</span>
<span class="times">{"" if chapter.core else "Optional. "}{times}</span></p></li>
"""


def drawn(found: list[Chapter], links: list[str], pace: int) -> str:
    """Return the map as HTML: a list of parts, each a list of stations."""
    core, rows = [chapter.core for chapter in found], ""
    for at, (chapter, link) in enumerate(zip(found, links, strict=True)):
        if at == 0 or chapter.part != found[at - 1].part:
            rows += "</ol></li>\n" if at else ""
            rows += f'<li><p class="part">{escape(chapter.part)}</p><ol>\n'
        rows += station(chapter, tracks(core, at), link, pace)
    return f'<ol class="course-map" aria-label="Map of the course">{rows}</ol></li></ol>'


def one_search_box(app: Sphinx, config: Config) -> None:
    """Leave the bar above the page empty: the theme would repeat there the search of the side bar.

    Jupyter Book fills these options itself, and what _config.yml gives would replace all of them.
    """
    config.html_theme_options.setdefault("navbar_persistent", [])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register options, role and directives."""
    app.add_config_value("core_path", [], "env", [list])
    app.add_config_value("words_a_minute", 100, "env", [int])
    app.add_role("time", Time())
    app.add_directive("course-map", CourseMap)
    app.add_directive("core-path", CorePath)
    app.add_post_transform(DrawMaps)
    app.connect("config-inited", one_search_box)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

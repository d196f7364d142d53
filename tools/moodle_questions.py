"""Write the questions of the chapters, and the test for beforehand, as a question bank for Moodle.

    python tools/moodle_questions.py dist/questions.xml

In Moodle: Question bank, Import, Moodle XML format. Each chapter becomes a category; each question
has one right answer, and feedback to each. What the chapters write as a reference (a number of
their run, an equation, another chapter) is written out; formulas are for MathJax. No images.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "slides"))
import chapter_parts  # noqa: E402  what the chapters hold is read there

ENTRY_TEST = ROOT / "for_teachers" / "entry_test.md"
BANK = "Learning from Few Examples"
RIGHT, WRONG = "**Right.**", "**Not quite.**"
QUESTION = re.compile(
    r'<div class="question"[^>]*>\n<div id="[\w-]+">\n\n\*\*Question \d+\.\*\* (.+?)\n\n</div>\n'
    r"(.+?</details>)\n\n</div>",
    re.DOTALL,
)
OPTION = re.compile(r"<details>\n<summary>(.+?)</summary>\n\n(.+?)\n\n</details>", re.DOTALL)
ROLE = re.compile(r"\{([\w:]+)\}`([^`]+)`")
CODE_OR_FORMULA = re.compile(r"(`[^`]*`)|\$([^$]+)\$")
MARKDOWN = MarkdownIt("commonmark")


@dataclass(frozen=True)
class Option:
    """One answer to choose: its text and what is said to those who choose it, as HTML."""

    text: str
    right: bool
    feedback: str


@dataclass(frozen=True)
class Question:
    """One question, as HTML."""

    name: str
    text: str
    options: tuple[Option, ...]


def written_out(role: str, target: str, chapter: str) -> str:
    """Return what the book shows for a reference.

    Raises:
        ValueError: if this kind of reference is not known.
    """
    if role == "glue:text":
        return chapter_parts.number(f"{chapter}:{target}")
    if role == "eq":
        return f"${chapter_parts.equation(f'{chapter}:{target}')}$"
    if role == "prf:ref":
        return f"“{chapter_parts.algorithm(f'{chapter}:{target}')[0]}”"
    if role == "doc":
        return f"“{title(Path(target).name)}”"
    raise ValueError(f"got {{{role}}}`{target}` in a question of {chapter}: write it out here")


def title(chapter: str) -> str:
    """Return the title of a chapter."""
    return chapter_parts.prose(chapter).partition("\n")[0].removeprefix("# ")


def as_html(text: str, chapter: str, *, is_html: bool = False) -> str:
    """Write Markdown of a chapter as HTML, with formulas as MathJax reads them in a text."""
    text = ROLE.sub(lambda found: written_out(found[1], found[2], chapter), text)
    formulas: list[str] = []

    def put_aside(found: re.Match[str]) -> str:
        if found[1]:
            return found[1]
        formulas.append(" ".join(found[2].split()))
        return f"\N{OBJECT REPLACEMENT CHARACTER}{len(formulas) - 1};"

    plain = CODE_OR_FORMULA.sub(put_aside, text)
    html = plain if is_html else MARKDOWN.render(plain).strip()
    return re.sub(
        "\N{OBJECT REPLACEMENT CHARACTER}(\\d+);",
        lambda found: rf"\({escape(formulas[int(found[1])], quote=False)}\)",
        html,
    )


def questions(chapter: str, text: str) -> Iterator[Question]:
    """Yield the questions in the text of a chapter.

    Raises:
        ValueError: if a question is not read whole, or has not one right answer.
    """
    found = QUESTION.findall(text)
    if len(found) != text.count('<div class="question"'):
        raise ValueError(f"{chapter}: a question there is not written as the others are")
    for number, (asked, rest) in enumerate(found, start=1):
        options = tuple(option(choice, said, chapter) for choice, said in OPTION.findall(rest))
        if sum(one.right for one in options) != 1 or len(options) != rest.count("<details>"):
            raise ValueError(f"{chapter}, question {number}: expected one right answer")
        yield Question(f"{chapter} {number}", as_html(asked, chapter), options)


def option(choice: str, said: str, chapter: str) -> Option:
    """Return an answer to choose; its text stands in HTML, what is said to it in Markdown."""
    text = as_html(choice, chapter, is_html=True)
    return Option(text, said.startswith(RIGHT), as_html(said, chapter))


def all_questions() -> dict[str, list[Question]]:
    """Return the questions by category: the test for beforehand, then the chapters."""
    found = {"Before the course": list(questions("entry_test", ENTRY_TEST.read_text("utf-8")))}
    for chapter in chapters():
        found[title(chapter)] = list(questions(chapter, chapter_parts.prose(chapter)))
    return found


def chapters() -> list[str]:
    """Return the chapters in the order of the book."""
    return re.findall(r"file: chapters/(\w+)", (ROOT / "_toc.yml").read_text("utf-8"))


def cdata(text: str) -> str:
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"


def text_of(tag: str, html: str, attributes: str = "") -> str:
    return f'<{tag}{attributes} format="html"><text>{cdata(html)}</text></{tag}>'


def as_xml(found: dict[str, list[Question]]) -> str:
    """Write questions as Moodle reads them."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<quiz>"]
    for category, asked in found.items():
        path = escape(f"$course$/{BANK}/{category}", quote=False)
        lines.append(
            f'<question type="category"><category><text>{path}</text></category></question>'
        )
        lines += [line for question in asked for line in question_as_xml(question)]
    return "\n".join([*lines, "</quiz>", ""])


def question_as_xml(question: Question) -> Iterator[str]:
    """Yield the lines of one question; a wrong answer costs nothing beyond the point."""
    yield '<question type="multichoice">'
    yield f"<name><text>{escape(question.name, quote=False)}</text></name>"
    yield text_of("questiontext", question.text)
    yield "<defaultgrade>1</defaultgrade><penalty>0.3333333</penalty><hidden>0</hidden>"
    yield "<single>true</single><shuffleanswers>true</shuffleanswers>"
    yield "<answernumbering>abc</answernumbering>"
    for one in question.options:
        fraction = f' fraction="{100 if one.right else 0}"'
        inside = f"<text>{cdata(one.text)}</text>{text_of('feedback', one.feedback)}"
        yield f'<answer{fraction} format="html">{inside}</answer>'
    yield "</question>"


def main(target: Path) -> None:
    found = all_questions()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(as_xml(found), encoding="utf-8")
    print(f"{sum(map(len, found.values()))} questions in {len(found)} categories: {target}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "dist" / "questions.xml")
    main(parser.parse_args().file)

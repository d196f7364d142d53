"""What the chapters hold, read from the notebooks as they are stored.

A deck names a part as ``chapter:name`` and gets what the book shows: a figure with its
caption and description, a number that a run glued, the frames of a stepper, an equation,
an algorithm. Nothing is executed. A name that does not exist raises and lists those that do.
"""

import ast
import base64
import json
import re
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

CHAPTERS = Path(__file__).resolve().parents[1] / "chapters"
GLUED = "application/papermill.record/text/plain"
STEPPER = re.compile(r'id="stepper-\w+" role="group" aria-label="([^"]*)"')
FRAMES = re.compile(r"const frames = (\[.*?\]);\n")
EQUATION = re.compile(r"^\$\$\n(.+?)\n\$\$ \(([\w-]+)\)", re.MULTILINE | re.DOTALL)
ALGORITHM = re.compile(
    r"^```\{prf:algorithm\} ([^\n]*)\n:label: ([\w-]+)\n(.+?)\n```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with what it says to those who see it and who do not."""

    uri: str
    alt: str
    caption: str


def split(reference: str) -> tuple[str, str]:
    """Split ``chapter:name`` into its two halves."""
    chapter, colon, name = (part.strip() for part in reference.partition(":"))
    if not (chapter and colon and name):
        raise ValueError(f"got {reference!r}: expected chapter:name, as in maml:sines-by-step")
    return chapter, name


@cache
def cells(chapter: str) -> list[dict[str, Any]]:
    """Return the cells of a chapter, in the notebook format of version 4."""
    path = CHAPTERS / f"{chapter}.ipynb"
    if not path.exists():
        known = ", ".join(sorted(path.stem for path in CHAPTERS.glob("*.ipynb")))
        raise ValueError(f"got the chapter {chapter!r}: expected one of {known}")
    stored: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return stored


def find(kind: str, parts: dict[str, Any], reference: str) -> Any:
    """Return the part that is meant, or say which there are."""
    chapter, name = split(reference)
    if name not in parts:
        known = ", ".join(sorted(parts)) or "none"
        raise ValueError(
            f"got the {kind} {name!r} of the chapter {chapter!r}: expected one of {known}"
        )
    return parts[name]


def text(lines: str | list[str]) -> str:
    """Join what the notebook format stores as lines."""
    return lines if isinstance(lines, str) else "".join(lines)


def prose(chapter: str) -> str:
    """Return all text of a chapter, as Markdown."""
    return "\n\n".join(
        text(cell["source"]) for cell in cells(chapter) if cell["cell_type"] == "markdown"
    )


def outputs(chapter: str) -> list[dict[str, Any]]:
    """Return all outputs of a chapter."""
    return [output for cell in cells(chapter) for output in cell.get("outputs", [])]


@cache
def figures(chapter: str) -> dict[str, Picture]:
    """Return the figures of a chapter by name."""
    found = {}
    for cell in cells(chapter):
        shown = cell["metadata"].get("mystnb", {})
        images = [picture for o in cell.get("outputs", []) if (picture := uri(o.get("data", {})))]
        if "figure" in shown and len(images) == 1:
            figure, alt = shown["figure"], shown["image"]["alt"]
            found[figure["name"]] = Picture(images[0], alt, figure["caption"])
    return found


def uri(data: dict[str, Any]) -> str:
    """Return the picture of an output, in lines rather than in pixels; empty if it has none."""
    if "image/svg+xml" in data:
        lines = text(data["image/svg+xml"]).encode()
        return "data:image/svg+xml;base64," + base64.b64encode(lines).decode()
    pixels = text(data.get("image/png", "")).replace("\n", "")
    return pixels and "data:image/png;base64," + pixels


def has(output: dict[str, Any], kind: str) -> bool:
    """Say whether an output has data of this kind."""
    return kind in output.get("data", {})


@cache
def numbers(chapter: str) -> dict[str, Any]:
    """Return what the run of a chapter glued, by name."""
    return {
        output["metadata"]["scrapbook"]["name"]: ast.literal_eval(text(output["data"][GLUED]))
        for output in outputs(chapter)
        if has(output, GLUED)
    }


@cache
def steppers(chapter: str) -> dict[str, list[Picture]]:
    """Return the frames of each stepper of a chapter, by the label of the stepper."""
    found = {}
    for output in outputs(chapter):
        page = text(output.get("data", {}).get("text/html", ""))
        label, data = STEPPER.search(page), FRAMES.search(page)
        if label and data:
            first = re.search(r'<img src="([^"]+)"', page)
            frames = json.loads(data[1])
            frames[0]["src"] = first[1] if first else ""
            shown = [Picture(f["src"], f["alt"], f["caption"]) for f in frames]
            found[unescape(label[1])] = shown
    return found


def figure(reference: str) -> Picture:
    """Return a figure."""
    chapter, _ = split(reference)
    picture: Picture = find("figure", figures(chapter), reference)
    return picture


def number(reference: str) -> str:
    """Return a number as a slide shows it: ``maml:MAML-1``, or ``maml:lost:.1f`` to round."""
    chapter, rest = split(reference)
    name, _, spec = rest.partition(":")
    value = find("number", numbers(chapter), f"{chapter}:{name}")
    try:
        shown = format(value, spec)
    except ValueError as error:
        raise ValueError(f"got the format {spec!r} for {name} = {value!r}: {error}") from None
    shown = shown.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
    return shown.replace("-", "−") if re.match(r"-\d", shown) else shown


def frames(reference: str, which: str) -> list[Picture]:
    """Return frames of a stepper, ``which`` as in "1 3 6", counted from 1 as the page does."""
    chapter, _ = split(reference)
    shown = find("stepper", steppers(chapter), reference)
    try:
        chosen = [int(number) for number in which.split()]
    except ValueError:
        chosen = []
    if not chosen or not all(1 <= number <= len(shown) for number in chosen):
        raise ValueError(f"got the frames {which!r}: expected numbers from 1 to {len(shown)}")
    return [shown[number - 1] for number in chosen]


def equation(reference: str) -> str:
    """Return an equation as LaTeX, without the stop or comma of its sentence."""
    chapter, _ = split(reference)
    known = {label: latex for latex, label in EQUATION.findall(prose(chapter))}
    latex: str = find("equation", known, reference)
    return latex.rstrip(" ,.")


def algorithm(reference: str) -> tuple[str, str]:
    """Return the title and the body of an algorithm, as Markdown."""
    chapter, name = split(reference)
    known = {label: (title, body) for title, label, body in ALGORITHM.findall(prose(chapter))}
    title, body = find("algorithm", known, reference)
    if role := re.search(r"\{[\w:]+\}`[^`]*`", body):
        raise ValueError(f"got the algorithm {name}, which refers to {role[0]}: write it out")
    return title, body.strip()

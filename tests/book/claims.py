"""What a page claims of a chapter's results, and whether the chapter's stored outputs bear it out.

A claim is a comment of the page: ``% prints:`` a line that the chapter prints, or ``% holds:`` a
relation of the numbers that it hands to its text, intervals included; a number of another chapter
has that chapter's name before it. In a chapter, which is read in Jupyter too, a claim stands
between ``<!--`` and ``-->``.
"""

import json
import re


def interval(text):
    mean, half = re.fullmatch(r"'?([-+]?[\d.,]+)(?: ± ([\d.]+))?(?: .*)?'?", text).groups()
    return float(mean.replace(",", "")), float(half or 0)


class Chapter:
    """The stored outputs of a chapter: what it prints, and the numbers it gives to its text."""

    def __init__(self, path):
        self.path, self.printed, self.numbers = path, "", {}
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                self.printed += "".join(output.get("text", []))
                name = output.get("metadata", {}).get("scrapbook", {}).get("name")
                if name:
                    data = output["data"]
                    key = "application/papermill.record/text/plain"
                    self.numbers[name] = "".join(data.get(key, data.get("text/plain", "")))

    def holds(self, claim):
        name, relation, other = claim.split()
        if ":" in name:
            chapter, name = name.split(":")
            return Chapter(self.path.with_stem(chapter)).holds(f"{name} {relation} {other}")
        mean, half = interval(self.numbers[name])
        against = interval(self.numbers.get(other, other))[0]
        return {
            "above": mean - half > against,
            "below": mean + half < against,
            "covers": abs(mean - against) <= half,
        }[relation]


def claims(text):
    return re.findall(r"^(?:% |<!-- )(prints|holds): (.+?)(?: -->)?$", text, re.M)


def markdown(path):
    """The text of a chapter, cell by cell."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def prose(path):
    """What a reader reads on: no questions, exercises, solutions, directives and equations.

    It ends where the further reading begins. Claims are kept.
    """
    text = "\n\n".join(cell for cell in markdown(path) if not cell.startswith("<div class="))
    for kind in ("exercise", "solution"):
        text = re.sub(
            rf"^```{{{kind}-start}}.*?^```{{{kind}-end}}\n```$", "", text, flags=re.M | re.S
        )
    for kind in (r"^```\{.*?^```$", r"^\$\$.*?^\$\$.*?$", "^## Further reading.*"):
        text = re.sub(kind, "", text, flags=re.M | re.S)
    return text

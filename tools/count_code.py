"""Count the lines of code of the package, by room, and hold them below what was promised.

    python tools/count_code.py [--modules]          print the table, or each module
    python tools/count_code.py --write FILE         renew the table in FILE
    python tools/count_code.py --check FILE         fail if it is out of date, or a cap is exceeded

A line counts if something on it is neither a comment nor a docstring.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "metalearn_lite"
TEACHERS = PACKAGE.with_name("metalearn_grading")
BEGIN, END = "<!-- code count -->", "<!-- end of code count -->"
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}

ALL = "the whole package"
FIRST_PARTS = "what a student needs for the first five parts"
GRADING = "`metalearn_grading`, which only a teacher's machine needs"
NEEDED = (  # modules and rooms; not what only refuses wrong arguments
    "tasks.py",
    "losses.py",
    "models/networks.py",
    "models/normalisation.py",
    "models/heads.py",
    "models/functional.py",
    "models/query_statistics.py",
    "training/loop.py",
    "evaluation.py",
    "transfer/descent.py",
    "transfer/fine_tuning.py",
    "transfer/supervised.py",
    "multitask/network.py",
    "maml/plain.py",
    "maml/inner_loop.py",
    "reptile",
    "prototypes/means.py",
    "randomness.py",
)
CAPS = {FIRST_PARTS: 1500, ALL: 8000, GRADING: 450}


def code_lines(source: str) -> int:
    """Count the lines of a module that hold code."""
    docstrings = [
        (node.value.lineno, node.value.end_lineno or 0)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        first, last = token.start[0], token.end[0]
        documents = token.type == tokenize.STRING and any(
            begin <= first and last <= end for begin, end in docstrings
        )
        if token.type not in LAYOUT and not documents:
            lines |= set(range(first, last + 1))
    return len(lines)


def count(package: Path) -> dict[str, int]:
    """Return the lines of code of each module, by its path in the package."""
    return {
        path.relative_to(package).as_posix(): code_lines(path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
    }


def needed(counts: dict[str, int]) -> dict[str, int]:
    """Return those of the modules that the first five parts need."""
    found: dict[str, int] = {}
    for name in NEEDED:
        part = {module: n for module, n in counts.items() if module == name}
        part |= {module: n for module, n in counts.items() if module.startswith(f"{name}/")}
        if not part:
            raise SystemExit(f"{name} is not in the package: mend NEEDED in tools/count_code.py")
        found |= part
    return found


def totals(counts: dict[str, int]) -> dict[str, dict[str, int]]:
    return {FIRST_PARTS: needed(counts), ALL: counts, GRADING: count(TEACHERS)}


def table(counts: dict[str, int]) -> str:
    """Write the lines of each room and the totals as a table in Markdown."""
    rooms: dict[str, list[int]] = {}
    for module, lines in counts.items():
        rooms.setdefault(module.rpartition("/")[0], []).append(lines)
    rows = [
        f"| {f'`{room}`' if room else 'outside the rooms'} | {len(lines)} | {sum(lines):,} |"
        for room, lines in sorted(rooms.items())
    ]
    rows += [
        f"| **{name}** | {len(part)} | {sum(part.values()):,} of at most {CAPS[name]:,} |"
        for name, part in totals(counts).items()
    ]
    return "\n".join(["| room | modules | lines of code |", "|---|---|---|", *rows])


def excesses(counts: dict[str, int]) -> list[str]:
    """Say which totals are above their caps."""
    sums = {name: sum(part.values()) for name, part in totals(counts).items()}
    return [
        f"{name} has {lines:,} lines of code, {lines - CAPS[name]:,} above the cap of "
        f"{CAPS[name]:,}: find what is written twice or is needed by nobody"
        for name, lines in sums.items()
        if lines > CAPS[name]
    ]


def renewed(path: Path, content: str) -> tuple[str, str]:
    """Return the text of a file as it is, and with ``content`` between the markers."""
    text = path.read_text(encoding="utf-8")
    pattern = re.compile(f"^{BEGIN}\n.*?^{END}$", re.MULTILINE | re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise SystemExit(
            f"{path} has no place for the table: expected a line {BEGIN} and below it a line {END}"
        )
    return text, pattern.sub(f"{BEGIN}\n{content}\n{END}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--modules", action="store_true", help="print the lines of each module")
    what.add_argument("--write", type=Path, metavar="FILE", help="renew the table in FILE")
    what.add_argument("--check", type=Path, metavar="FILE", help="fail if it is out of date")
    options = parser.parse_args()
    counts = count(PACKAGE)
    if options.modules:
        print("\n".join(f"{lines:5} {module}" for module, lines in counts.items()))
    elif options.write:
        _, text = renewed(options.write, table(counts))
        options.write.write_text(text, encoding="utf-8")
    elif options.check:
        old, new = renewed(options.check, table(counts))
        stale = f"the code count in {options.check} is out of date: run `make count`"
        if complaints := excesses(counts) + [stale] * (old != new):
            sys.exit("\n".join(complaints))
    else:
        print(table(counts))


if __name__ == "__main__":
    main()

"""The hooks that git can run are the parts of `make lint`, and each is one line of the Makefile."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def rule(target):
    """Return what a target needs, and the commands that make it."""
    found = re.search(rf"^{target}:(.*)\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)
    return found[1].split(), [line.strip() for line in found[2].splitlines()]


def hooks():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    return config["repos"][0]["hooks"]


def test_the_hooks_are_the_parts_of_make_lint():
    parts, own = rule("lint")
    assert [hook["entry"] for hook in hooks()] == [
        f"make --no-print-directory {part}" for part in parts
    ]
    assert own == []


def test_make_lint_checks_code_format_links_and_size():
    parts, _ = rule("lint")
    assert [command for part in parts for command in rule(part)[1]] == [
        "$(RUN) -m ruff check .",
        "$(RUN) -m ruff format --check .",
        "$(RUN) tools/check_links.py",
        "$(RUN) tools/count_code.py --check CONTRIBUTING.md",
    ]


def test_a_hook_runs_on_everything_whatever_was_changed():
    for hook in hooks():
        assert hook["language"] == "system"
        assert hook["pass_filenames"] is False and hook["always_run"] is True

"""What the chapters say of their results is so: claims stand as comments in the text."""

import json
import re
from pathlib import Path

import pytest
from claims import Chapter, claims, markdown, prose

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))


# In a question these words claim nothing.
COMPARES = re.compile(
    r"\b(better|worse|ahead|behind|beats?|level with|outperforms?|superior|wins?)\b"
)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_a_chapter_claims_holds_in_its_outputs(path):
    text = "\n".join(markdown(path))
    found = claims(text)
    assert found and len(found) == len(re.findall("^<!-- ", text, re.M))
    stored = Chapter(path)
    for kind, claim in found:
        true = claim in stored.printed if kind == "prints" else stored.holds(claim)
        assert true, f"{path.stem} no longer bears out: {claim}"


def test_a_claim_that_is_wrong_is_noticed(tmp_path):
    def glued(name, text):
        return {"metadata": {"scrapbook": {"name": name}}, "data": {"text/plain": [text]}}

    outputs = [
        {"text": ["MAML ahead: True\n"]},
        glued("gap", "'+1.2 ± 1.0'"),
        glued("size", "1,300"),
    ]
    path = tmp_path / "chapter.ipynb"
    path.write_text(json.dumps({"cells": [{"outputs": outputs}, {}]}), encoding="utf-8")
    chapter = Chapter(path)
    right = (
        "gap above 0",
        "chapter:gap above 0",
        "gap covers 2",
        "gap below 2.5",
        "size above 1200",
        "size above gap",
    )
    wrong = ("gap above 0.3", "gap covers 0", "gap below 2.1", "gap above size")
    assert [chapter.holds(claim) for claim in right] == [True] * len(right)
    assert [chapter.holds(claim) for claim in wrong] == [False] * len(wrong)
    assert "MAML ahead: True" in chapter.printed and "MAML ahead: False" not in chapter.printed
    with pytest.raises(KeyError):
        chapter.holds("missing above 0")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_at_most_2500_words_of_prose(path):
    words = re.sub("<!--.*?-->", "", prose(path)).split()
    assert 1000 < len(words) <= 2500


def unfounded(text):
    """Sentences that compare in a paragraph without a number or a source, or a section's claim."""
    found = []
    for section in re.split(r"^#+ .*$", text, flags=re.M):
        for paragraph in re.split(r"\n\s*\n", section):
            if not ("<!-- " in section or "{glue:" in paragraph or "{cite" in paragraph):
                sentences = re.split(r"(?<=[.!?:])\s+", paragraph)
                found += [s for s in sentences if COMPARES.search(s) and not s.endswith("?")]
    return [" ".join(sentence.split()) for sentence in found]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_is_called_better_has_a_number_a_claim_or_a_source(path):
    assert unfounded(prose(path)) == []


def test_a_comparison_without_evidence_is_noticed():
    text = "## A section\n\nMAML is better. Is it\nahead?\n\nIt wins {cite:p}`x`.\n"
    assert unfounded(text) == ["MAML is better."]
    assert unfounded(text + "\n<!-- holds: gap above 0 -->\n\n## Another\n\nIt wins.") == [
        "It wins."
    ]


# The page on why numbers differ


def test_the_conditions_on_the_page_of_numbers_are_those_of_the_ledgers():
    page = (ROOT / "numbers.md").read_text(encoding="utf-8")
    maml, prototypes, fair = (
        json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("maml_glyphs", "prototypes_glyphs", "fair_comparison")
    )
    iterations, images = maml["settings"]["iterations"]["1"], fair["settings"]["images"]
    longer = iterations * maml["settings"]["longer"]
    mine = images // 120  # of four tasks of five ways, or one of twenty, with 30 images each
    inner = fair["tuning"]["1"]["methods"]["MAML"]["inner_steps"]
    scratch = fair["tuning"]["1"]["methods"]["from scratch"]
    for row in (
        f"| iterations of four tasks | {iterations:,} | {longer:,} | {mine} |",
        f"in training and at test | 1 and 1 | 1 and 1 | 1 and {inner} |",
        f"| {prototypes['settings']['iterations']['1']:,} | {mine} |",
        f"| 5 of 0.5 | 20 of 0.3 | {scratch['steps']} of {scratch['lr']}, tuned |",
        f"| {maml['settings']['pretraining']:,} × 64 | {images:,} |",
    ):
        assert row in page, row

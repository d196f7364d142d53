"""The page for teachers agrees with the chapters, the README and itself.

What an answer says of a result stands behind it once more, as a comment that is checked here:
``% prints:`` a line that the chapter prints, or ``% holds:`` a relation of the numbers that the
chapter hands to its text, intervals included.
"""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from claims import Chapter, claims

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "teaching.md").read_text(encoding="utf-8")
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
FILES = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
CHAPTERS = [file.removeprefix("chapters/") for file in FILES if file.startswith("chapters/")]
ASSIGNMENTS = ("tasks_and_evaluation", "transfer", "multi_task", "maml", "reptile_and_prototypes")


def part(title, level="##"):
    """The text under a heading, up to the next one that is not below it."""
    found = re.search(
        rf"^{level} {re.escape(title)}.*?\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", PAGE, re.M | re.S
    )
    assert found, f"teaching.md has no heading '{title}'"
    return found[1]


def sections():
    """What is said of each chapter."""
    pieces = re.split(
        r"^### \{doc\}`chapters/(\w+)`\n", part("Three misunderstandings"), flags=re.M
    )
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


# Misunderstandings


def test_every_chapter_has_its_misunderstandings_in_the_order_of_the_book():
    assert list(sections()) == CHAPTERS
    for chapter in CHAPTERS:
        anchor = f"(teach-{chapter.replace('_', '-')})=\n### {{doc}}`chapters/{chapter}`\n"
        assert PAGE.count(anchor) == 1


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_three_misunderstandings_each_with_question_and_answer(chapter):
    said = re.findall(
        r'^("[^\n]+)\n: \*\*Ask\.\*\*(.+?)\n: \*\*Answer\.\*\*(.+?)(?=\n\n)',
        sections()[chapter],
        re.M | re.S,
    )
    assert len(said) == 3
    assert sections()[chapter].count("**Ask.**") == sections()[chapter].count("**Answer.**") == 3
    for _, question, answer in said:
        assert "?" in question and len(question.split()) >= 5
        assert len(answer.split()) >= 15


# What the answers rely on


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_what_the_answers_say_of_results_holds_in_the_chapter(chapter):
    found = claims(sections()[chapter])
    assert found and len(found) == len(re.findall("^%", sections()[chapter], re.M))
    stored = Chapter(ROOT / "chapters" / f"{chapter}.ipynb")
    for kind, claim in found:
        true = claim in stored.printed if kind == "prints" else stored.holds(claim)
        assert true, f"{chapter} no longer bears out: {claim}"


# Plans


def rows(text):
    return [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| \d", line)]


def test_the_four_weeks_hold_every_chapter_in_order_and_every_assignment():
    weeks = rows(part("Four weeks", "###").partition("#### ")[0])
    assert [week for week, _ in weeks] == ["1", "2", "3", "4"]
    assert re.findall(r"chapters/(\w+)", " ".join(plan for _, plan in weeks)) == CHAPTERS
    handed = [re.findall(r"`(\w+)`, out in (?:session )?(\d)", plan) for _, plan in weeks]
    assert [name for week in handed for name, _ in week] == list(ASSIGNMENTS)
    for number, week in enumerate(handed):
        assert week and all((int(session) - 1) // 2 == number for _, session in week)
    there = {path.name for path in (ROOT / "assignments" / "source").glob("*") if path.is_dir()}
    assert there <= set(ASSIGNMENTS)


def test_an_assignment_is_due_two_sessions_after_it_is_handed_out():
    found = re.findall(r"out in (?:session )?(\d), due in (\d)", part("Four weeks", "###"))
    assert len(found) == len(ASSIGNMENTS) - 1  # the last one is due after the course
    assert all(int(due) - int(out) == 2 for out, due in found)


def test_a_session_fills_ninety_minutes_with_blocks_and_leaves_something():
    titles = re.findall(r"^#### (Session \d: .+)$", PAGE, re.M)
    assert [title[8] for title in titles] == list("12345678")
    read = ""
    for title in titles:
        text = part(title, "####")
        blocks = [tuple(map(int, first.split("–"))) for first, _ in rows(text)]
        assert blocks[0][0] == 0 and blocks[-1][1] == 90
        assert all(end == start for (_, end), (start, _) in pairwise(blocks))
        assert all(10 <= end - start <= 30 for start, end in blocks)
        assert "*Read before:*" in text and "*They leave with*" in text
        read += text
    for chapter in CHAPTERS:
        assert f"teach-{chapter.replace('_', '-')}>" in read, f"no session asks about {chapter}"


def test_the_day_fills_six_hours_and_names_what_it_leaves_out():
    day = part("One day", "###")
    times = [int(first[0]) * 60 + int(first[2:]) for first, _ in rows(day)]
    assert times[0] == 0 and times[-1] == 360
    assert all(10 <= b - a <= 30 for a, b in pairwise(times))
    assert sum("break" in text.lower() for _, text in rows(day)) >= 3
    run = [text for _, text in rows(day) if "run it" in text.lower()]
    assert len(run) == 4 and "the four chapters that are run" in day.replace("\n", " ")
    assert "*Leave out:*" in day and "*Hand out before:*" in day


def test_the_run_times_are_those_of_the_readme():
    markers = re.search(
        r"```\{include\} README\.md\n:start-after: (.+)\n:end-before: (.+)\n```", PAGE
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition(markers[1])[2].partition(markers[2])[0]
    assert (
        re.findall(r"^\| \[.+\]\(chapters/(\w+)\.ipynb\) \|.+\| \d+ s, ", table, re.M) == CHAPTERS
    )
    assert all(line.startswith("|") for line in table.split("\n") if line)
    assert not re.search(r"\d s\b|\bseconds\b", PAGE), "a run time is typed by hand"


# The test for beforehand


def answer(number):
    text = part("A test for beforehand", "###")
    found = re.search(rf"\*\*{number}\.\*\*.*?```\{{dropdown\}} Answer\n(.*?)\n```", text, re.S)
    return re.sub(r"\s+", " ", found[1])


def test_the_answers_on_tensors_and_gradients_are_right():
    x, w = torch.zeros(5, 3, 28, 28), torch.tensor(3.0, requires_grad=True)
    assert answer(1) == f"`{tuple(x.flatten(0, 1).shape)}` and `{tuple(x.mean(dim=1).shape)}`."
    (w**2).backward()
    (w**2).backward()
    assert answer(2).startswith(f"`{w.grad.item()}`")
    v = w - 0.1 * w.grad
    assert torch.autograd.grad(v, w)[0] == 1 and answer(3).startswith("After `v = w - 0.1 * g`")


def test_the_answers_on_cross_entropy_are_right():
    same, first = torch.full((1, 5), 2.0), torch.tensor([0])
    loss = F.cross_entropy(same, first).item()
    assert f"{loss:.3f}" in answer(4)
    assert F.cross_entropy(same + 7, first).item() == pytest.approx(loss, abs=1e-6)
    scores = torch.tensor([[0.7, 0.2, 0.1]]).log().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(scores, torch.tensor([1])), scores)
    found = [float(value) for value in re.findall(r"-?\d\.\d", answer(5))]
    assert found == pytest.approx(slope.flatten().tolist(), abs=1e-6)


def test_the_answers_on_the_chain_rule_and_on_standard_errors_are_right():
    theta, alpha = torch.tensor(0.7, requires_grad=True), 0.1
    (inner,) = torch.autograd.grad(theta**2, theta, create_graph=True)
    (slope,) = torch.autograd.grad((theta - alpha * inner) ** 2, theta, retain_graph=True)
    (lost,) = torch.autograd.grad((theta - alpha * inner.detach()) ** 2, theta)
    assert r"f'(\theta) = 2 (1 - 2\alpha)^2 \theta" in answer(6)
    assert slope.item() == pytest.approx(2 * (1 - 2 * alpha) ** 2 * theta.item())
    assert lost.item() == pytest.approx(slope.item() / (1 - 2 * alpha))
    assert answer(7).startswith(f"{10 / 100**0.5:.0f} point, and {100 * 2**2} scores.")
    assert len(re.findall(r"^\*\*\d\.\*\*", PAGE, re.M)) == 8 and answer(8)

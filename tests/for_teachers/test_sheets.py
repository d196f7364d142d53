"""What is for teachers alone: it is right, it covers the course, and it reaches no student."""

import json
import math
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import make_assignments
import pytest
import torch
import torch.nn.functional as F
import yaml
from scipy import stats

from metalearn_lite.maml import implicit_hypergradient, unrolled_hypergradient

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "for_teachers"
EXAM = (FOLDER / "exam.md").read_text(encoding="utf-8")
ORAL = (FOLDER / "oral.md").read_text(encoding="utf-8")
CHAPTERS = {path.stem for path in (ROOT / "chapters").glob("*.ipynb")}
QUESTION = re.compile(
    r"^## (\d+)\. ([^\n]+) \((\d+) marks\) · ([^\n]+)\n(.+?)(?=^## |\Z)", re.M | re.S
)
SOLUTION = "### BEGIN " + "SOLUTION"


def exam():
    """The text of each question by its number."""
    return {int(number): text for number, _, _, _, text in QUESTION.findall(EXAM)}


def scheme(number, part):
    """The mark scheme of one part of a question, on one line."""
    marks = exam()[number].partition("**Marks.**")[2]
    found = re.search(rf"^- \({part}\) \[\d\] (.+?)(?=^- |^\*|\Z)", marks, re.M | re.S)
    return " ".join(found[1].split())


# The exam


def test_the_exam_covers_all_chapters_and_numbers_its_questions():
    found = QUESTION.findall(EXAM)
    assert [int(number) for number, *_ in found] == list(range(1, len(found) + 1))
    assert len(found) >= 12
    assert {c for *_, chapters, _ in found for c in chapters.split(", ")} == CHAPTERS


@pytest.mark.parametrize("number", exam())
def test_the_marks_of_a_question_add_up_and_every_part_has_some(number):
    found = {int(n): (int(marks), text) for n, _, marks, _, text in QUESTION.findall(EXAM)}
    total, text = found[number]
    asked, _, marks = text.partition("**Marks.**")
    parts = re.findall(r"^\((\w)\) ", asked, re.M)
    marked = re.findall(r"^- \((\w)\) \[(\d)\]", marks, re.M)
    assert [part for part, _ in marked] == parts and len(parts) >= 2
    assert sum(int(mark) for _, mark in marked) == total


def test_the_answers_on_scores_and_intervals_are_right():
    error = 9 / math.sqrt(600)
    assert scheme(1, "a") == f"{5 * 1} and {5 * 15}."
    assert f"{error:.2f}$ points" in scheme(1, "b")
    assert f"{stats.norm.ppf(0.975) * error:.2f}$ points" in scheme(1, "b")
    assert f"{4 * 600:,}" in scheme(1, "c")
    a, b = torch.tensor([[60.0, 70, 80, 65, 75], [62, 72, 82, 67, 77]])
    factor = stats.t.ppf(0.975, 4)
    assert f"t = {factor:.3f}" in exam()[15] and f"{stats.t.ppf(0.975, 2):.3f}" in exam()[15]
    half = factor * a.std().item() / math.sqrt(5)
    assert f"{a.mean():.0f} \\pm {half:.1f}" in scheme(15, "a")
    assert f"{b.mean():.0f} \\pm {half:.1f}" in scheme(15, "a")
    assert (b - a).std() == 0 and (b - a).mean() == 2 and "2 \\pm 0" in scheme(15, "b")
    runs = torch.tensor([1.0, 2, 6])
    half = stats.t.ppf(0.975, 2) * runs.std().item() / math.sqrt(3)
    assert f"{runs.mean():.0f} \\pm {half:.1f}" in scheme(15, "c") and half > runs.mean()


def test_the_answers_on_sampling_are_right():
    generator = torch.Generator().manual_seed(0)
    same = torch.randint(20, (2, 100_000), generator=generator)
    assert (same[0] == same[1]).double().mean().item() == pytest.approx(1 / 20, abs=0.003)
    assert "1 in 20, or 5 %" in scheme(2, "a")
    assert f"= {0.05 + 0.95 * 0.6:.2f}" in scheme(2, "b")
    best = torch.randn(20_000, 20, generator=generator).amax(1).mean().item()
    assert best == pytest.approx(1.87, abs=0.02) and "1.87 standard deviations" in exam()[16]
    assert f"{best * 9 / 10:.1f}$ points" in scheme(16, "a")


def test_the_answers_on_heads_and_normalisation_are_right():
    assert f"= {sum(p.numel() for p in torch.nn.Linear(32, 5).parameters())}" in scheme(3, "a")
    feature = torch.tensor([4.0, 4, 0, 0])
    together = (feature - feature.mean()) / feature.std(correction=0)
    assert together.tolist() == [1, 1, -1, -1] and "1, 1, −1, −1" in scheme(4, "a")
    for letter in feature.split(2):
        assert (letter - letter.mean()).tolist() == [0, 0] and "0 in both" in scheme(4, "b")
    head = torch.tensor([[1.0, 0], [0, 1], [-1, -1]])
    z = torch.zeros(1, 2, requires_grad=True)
    F.cross_entropy(z @ head.T, torch.tensor([0])).backward()
    assert z.grad.tolist() == [pytest.approx([-1, 0], abs=1e-6)] and "(-1, 0)" in scheme(5, "b")
    fitted = torch.tensor([0.94, 0.03, 0.03]) - torch.tensor([1.0, 0, 0])
    assert (fitted @ head).tolist() == pytest.approx([-0.09, 0], abs=1e-6)
    assert "(-0.09, 0)" in scheme(5, "c")


def test_the_answers_on_many_tasks_are_right():
    assert f"{math.degrees(1) ** 2:.0f}" in scheme(6, "a")
    loss, s = 0.3, math.log(0.3)
    assert -0.5 * math.exp(-s) * loss + 0.5 == pytest.approx(0)
    assert 0.5 * math.exp(-s) == pytest.approx(1 / (2 * loss))
    g1, g2 = torch.tensor([3.0, 0]), torch.tensor([-1.0, 1])
    assert g1 @ g2 == -3 and g1 @ (g1 + g2) == 6 and g2 @ (g1 + g2) == -1
    first, second = g1 - (g1 @ g2) / (g2 @ g2) * g2, g2 - (g1 @ g2) / (g1 @ g1) * g1
    assert (first + second).tolist() == [1.5, 2.5] and "(1.5, 2.5)" in scheme(7, "c")
    share = ((g2 - g1) @ g2 / ((g1 - g2) @ (g1 - g2))).item()
    d = share * g1 + (1 - share) * g2
    assert share == pytest.approx(5 / 17) and d.tolist() == pytest.approx([3 / 17, 12 / 17])
    assert [(d @ g).item() for g in (g1, g2, d)] == pytest.approx([9 / 17] * 3)
    assert "5/17" in scheme(7, "d") and "9/17" in scheme(7, "d")


def test_the_answers_on_learning_to_learn_are_right():
    h, c = torch.tensor([1.0, 4]), torch.tensor([1.0, -1])
    for rate, start in ((0.25, 1.0), (0.1, -0.28), (0.0, -0.6)):
        weights = h * (1 - rate * h) ** 2
        assert ((weights * c).sum() / weights.sum()).item() == pytest.approx(start)
        assert f"{start:g}" in scheme(9, "c") + scheme(9, "a")
    theta = torch.tensor(1.0, requires_grad=True)
    (inner,) = torch.autograd.grad(theta**3, theta, create_graph=True)
    after = (theta - 0.1 * inner) ** 3
    (exact,) = torch.autograd.grad(after, theta, retain_graph=True)
    (short,) = torch.autograd.grad((theta - 0.1 * inner.detach()) ** 3, theta)
    assert after.item() == pytest.approx(0.343) and "0.343" in scheme(10, "a")
    assert exact.item() == pytest.approx(0.588) and "0.588" in scheme(10, "b")
    assert short.item() == pytest.approx(1.47) and "1.47" in scheme(10, "b")
    shares = [1 - (1 - 0.1 * a) ** k for k in (1, 30) for a in (1, 4)]
    assert "0.1 and 0.4; 0.958 and 1.000" in scheme(12, "a")
    assert [f"{share:.3g}" for share in shares[:2]] == ["0.1", "0.4"]
    assert [f"{share:.3f}" for share in shares[2:]] == ["0.958", "1.000"]


def test_the_answer_on_the_second_step_is_right():
    """The update of two steps, for quadratic losses, for which the expansion is exact."""
    generator = torch.Generator().manual_seed(1)
    roots = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    h1, h2 = roots @ roots.mT
    g1, g2 = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    rate = 0.01
    moves = [
        first + (second + hessian @ (-rate * first))
        for first, second, hessian in ((g1, g2, h2), (g2, g1, h1))
    ]
    expected = g1 + g2 - rate / 2 * (h2 @ g1 + h1 @ g2)
    assert torch.allclose((moves[0] + moves[1]) / 2, expected)


def test_the_answers_on_prototypes_are_right():
    means, z = torch.tensor([[2.0, 0], [0, 1]]), torch.tensor([1.0, 1])
    scores = 2 * means @ z - (means**2).sum(1)
    assert scores.tolist() == [0, 1] and scores.softmax(0)[1].item() == pytest.approx(
        0.731, abs=5e-4
    )
    assert ((z - means) ** 2).sum(1).tolist() == [2, 1] and "0.731" in scheme(14, "b")
    on_the_line = torch.tensor([1.0, 0.5])  # 4x - 4 = 2y - 1 there
    assert (2 * means @ on_the_line - (means**2).sum(1)).diff().item() == 0


def test_the_answers_on_averages_of_a_map_are_right():
    x, y = torch.zeros(2, 1, 1, 4, 4)
    x[..., 1, 0], y[..., 3, 2] = 1, 1
    moved = x.roll((2, 2), (2, 3))
    for parts in (1, 2):
        numbers = F.adaptive_avg_pool2d(torch.zeros(1, 80, 4, 4), parts).numel()
        assert str(numbers) in scheme(18, "a")
    assert "1/16 for both" in scheme(18, "b")
    assert F.adaptive_avg_pool2d(x, 1).item() == F.adaptive_avg_pool2d(y, 1).item() == 1 / 16
    quarters = [F.adaptive_avg_pool2d(m, 2) for m in (x, y, moved)]
    assert not quarters[0].equal(quarters[1]) and quarters[2].equal(quarters[1])
    norm = torch.nn.BatchNorm2d(3).train()
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    out = norm(torch.randn(1, 3, 4, 4)).mean(dim=(2, 3))
    assert (out - norm.bias).abs().max() < 1e-6 and "$\\beta$" in scheme(18, "c")


def test_the_answers_on_the_slope_of_a_setting_are_right():
    def train(w, s):
        return ((w["w"] - 4) ** 2 + s["s"] * w["w"] ** 2) / 2

    def validate(w, s):
        return (w["w"] - 1) ** 2 / 2

    def slope(w, s, **steps):
        at = {"w": torch.tensor(w)}, {"s": torch.tensor(s)}
        if steps:
            return unrolled_hypergradient(train, validate, *at, **steps)["s"].item()
        return implicit_hypergradient(train, validate, *at, steps=1)["s"].item()

    assert slope(2.0, 1.0) == pytest.approx(-1) and scheme(21, "a").strip().endswith("= -1$.")
    assert slope(1.0, 3.0) == 0 and "$s = 3$" in scheme(21, "b")
    assert slope(0.0, 1.0, lr=0.3, steps=1) == 0 and "Zero" in scheme(21, "c")
    assert slope(3.0, 1.0) == pytest.approx(-3) and "= -3$" in scheme(21, "d")


def test_the_answers_on_few_pictures_are_right():
    z, y = torch.tensor([-1.0, 1, -1, 1]), torch.tensor([0, 0, 1, 1])

    def named(i, out):
        kept = [j for j in range(4) if j not in out]
        means = torch.stack([z[[j for j in kept if y[j] == k]].mean() for k in (0, 1)])
        distances = (z[i] - means).abs()
        return distances[y[i]].item(), distances[1 - y[i]].item()

    assert all(named(i, [i]) == (2, 1) for i in range(4))
    assert "None:" in scheme(19, "a") and "distance 2" in scheme(19, "a")
    assert all(len(set(named(i, [i, (i + 2) % 4]))) == 1 for i in range(4))
    error = 100 * math.sqrt(0.75 * 0.25 / 40)
    assert f"{error:.1f}" in scheme(19, "c") and f"{1.96 * error:.1f}" in scheme(19, "c")


def test_the_oral_sheet_has_an_opener_for_each_part_and_says_what_is_good():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = [part["caption"] for part in toc["parts"] if part.get("numbered")]
    found = re.findall(r"^## (.+?)\n(.+?)(?=^## |\Z)", ORAL, re.M | re.S)
    assert [title for title, _ in found][:-1] == parts
    for _, text in found[:-1]:
        asked = re.findall(r"^\*\*(Opener|Follow-up)\.\*\* .+?[?]", text, re.M)
        assert asked[0] == "Opener" and asked.count("Opener") == 1 and len(asked) >= 3
        assert len(re.findall(r"^: \*\*A good answer", text, re.M)) == len(asked)


# It reaches no student

BUILD = "import sys; from hatchling import build; build.{}(sys.argv[1])"


def secrets():
    """What must not be found: answers to the exam, the oral sheet, whole solutions."""
    lines = "\n".join([EXAM, ORAL]).splitlines()
    found = [line for line in lines if line.startswith(("- (", ": **"))]
    for name in make_assignments.names():
        path = ROOT / "assignments" / "source" / name / f"{name}.ipynb"
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            solved = "".join(cell["source"]).partition(SOLUTION)[2].partition("### END")[0].strip()
            found += [solved] if solved.count("\n") > 1 else []
    assert len(found) > 80
    return found


def given_away(texts):
    """Files that hold a solution, or a line that is for teachers alone."""
    hidden = secrets()
    return [
        name
        for name, text in texts.items()
        if SOLUTION in text or name.startswith("for_teachers") or any(s in text for s in hidden)
    ]


def test_a_solution_and_an_answer_are_found_where_they_are():
    source = ROOT / "assignments" / "source" / "maml" / "maml.ipynb"
    solved = json.loads(source.read_text(encoding="utf-8"))["cells"]
    texts = {
        "clean.txt": "a page for students",
        "notebook": "\n".join("".join(cell["source"]) for cell in solved),
        "mail": "by the way: " + EXAM[EXAM.index("- (a)") :][:4000],
    }
    assert given_away(texts) == ["notebook", "mail"]


@pytest.mark.long
def test_nothing_of_it_is_in_the_wheel_or_in_the_source_archive(tmp_path):
    for kind in ("build_wheel", "build_sdist"):
        command = [sys.executable, "-c", BUILD.format(kind), str(tmp_path)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,), (archive,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as file:
        texts = {name: file.read(name).decode("latin1") for name in file.namelist()}
    assert "metalearn_lite/tasks.py" in texts and given_away(texts) == []
    with tarfile.open(archive) as file:
        members = [member for member in file.getmembers() if member.isfile()]
        texts = {
            m.name.partition("/")[2]: file.extractfile(m).read().decode("latin1") for m in members
        }
    assert "metalearn_lite/tasks.py" in texts and given_away(texts) == []
    assert not [
        name
        for name in texts
        if name.startswith(("assignments", "tests/assignments", "tests/for_teachers"))
    ]


def test_the_book_does_not_hold_it():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert "for_teachers" not in toc and config["only_build_toc_files"] is True
    pages = [p for p in ROOT.glob("*.md") if p.name not in ("CHANGELOG.md", "CONTRIBUTING.md")]
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages}
    assert given_away(texts) == []

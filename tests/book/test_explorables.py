"""What a page computes of bowls, walks, descents and comparisons is what the package computes.

The problems are those of the chapters: their code is read from the notebooks and run.
"""

import json
import random
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_pages import Visit, faint_text, overhang
from torch import nn
from torch.func import grad

from metalearn_lite.checkpoint import load_checkpoint
from metalearn_lite.evaluation import Scores
from metalearn_lite.judging import result_path
from metalearn_lite.maml import maml_loss
from metalearn_lite.multitask import mgda, pcgrad, task_gradients
from metalearn_lite.randomness import seeded
from metalearn_lite.reptile import reptile_step
from metalearn_lite.tasks import Episode
from metalearn_lite.widgets import (
    End,
    Question,
    Valley,
    bowls,
    conflicts,
    directions,
    guide,
    order_of_methods,
    penalties,
    results_table,
    solution_sets,
)
from metalearn_lite.widgets.explorables import STARTS
from metalearn_lite.widgets.landscapes import COMBINATIONS

CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"
INK = "#0072B2"
EXACT = {"rtol": 1e-9, "atol": 1e-9}
double = {"dtype": torch.float64}


def cell(name, mark):
    """The source of the cell of a chapter in which a line begins so."""
    cells = nbformat.read(CHAPTERS / f"{name}.ipynb", as_version=4).cells
    code = [one.source for one in cells if one.cell_type == "code"]
    (found,) = [source for source in code if f"\n{mark}" in f"\n{source}"]
    return found


def chapter(name, *marks, changes=(), **known):
    """Run these cells of a chapter, and return its names."""
    names = {"torch": torch, "nn": nn, "seeded": seeded, **known}
    source = "\n\n".join(cell(name, mark) for mark in marks)
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    exec(source, names)
    return names


# The widgets


def draw_bowls(optima=(-1, 1), steepness=(4, 1), alpha=0.2):
    return bowls(
        optima, steepness, inner_lr=alpha, colours=dict.fromkeys(STARTS, INK), label="Which?"
    )


def draw_lines(names, start=None, steps=3, rate=0.5):
    return solution_sets(
        names["slopes"],
        names["offsets"],
        start=names["START"] if start is None else start,
        inner_lr=names["INNER_LR"],
        inner_steps=steps,
        meta_lr=rate,
        rounds=100,
        colours=names["TASK_COLOURS"],
        label="Where?",
        x=(-1.6, 2.8),
        y=(-2.2, 2),
    )


def draw_arrows(gradients=((2, 0), (-1, 0.8))):
    return directions(gradients, colours=dict.fromkeys(COMBINATIONS, INK), label="Who harms?")


def draw_valley(start=(-3, 0.5), lr=0.05, steps=300):
    return conflicts(
        Valley((10.0, 1.0), (0.3, -0.3), bends=1.5, goal=4.0, pull=0.3, rounding=0.01),
        start=start,
        lr=lr,
        lrs=(0.003, 0.01, 0.03, 0.05, 0.1, 0.3),
        steps=steps,
        colours=dict.fromkeys(COMBINATIONS, INK),
        label="Who arrives?",
        x=(-4, 5),
        y=(-2, 2),
    )


def ridge(seed=None):
    """The problem of the chapter: its functions and examples, or others from the same world."""
    known = {"F": F, "grad": grad}
    changes = [] if seed is None else [("seeded(4)", f"seeded({seed})")]
    return chapter("learned_settings", "generator = seeded", changes=changes, **known)


def draw_penalties(names, start=(2, -6), steps=60):
    return penalties(
        *((names[f"{part}x"], names[f"{part}y"]) for part in ("", "new_", "test_")),
        groups=names["GROUP"],
        axes={"one": (-7, 3), "the others": (-7, 3)},
        start=start,
        lr=0.3,
        steps=steps,
        colour=INK,
        label="From where?",
    )


def answers(seed=0, tasks=200):
    """Two methods that find the same tasks hard, one a little ahead, and a third like neither."""
    draws = np.random.default_rng(seed)
    ease = draws.uniform(0.5, 0.9, tasks)
    ease = {"A": ease + 0.02, "B": ease, "C": draws.uniform(0.3, 0.9, tasks)}
    return {n: torch.from_numpy(draws.binomial(75, p.clip(0, 1))) for n, p in ease.items()}


def draw_order(given=None, count=16):
    given = given or answers()
    return order_of_methods(
        given,
        questions=75,
        pair=("A", "B"),
        counts=(8, 16, 64),
        count=count,
        colours=dict.fromkeys(given, INK),
        label="How many?",
        trials=500,
    )


SCORES = {
    (shots, kind): {
        name: Scores.of([value, value + 0.02]) for name, value in zip("ABC", means, strict=True)
    }
    for (shots, kind), means in {
        ("1 shot", "transductive"): (0.5, 0.7, 0.6),
        ("1 shot", "inductive"): (0.4, 0.3, 0.2),
        ("5 shots", "transductive"): (0.8, 0.7, 0.9),
        ("5 shots", "inductive"): (0.7, 0.7, 0.6),
    }.items()
}
COSTS = {"passes": {"A": "1", "B": "20", "C": "3"}, "time": {"A": "1.5", "B": "0.5", "C": "9"}}


def draw_table():
    return results_table(SCORES, COSTS, label="Accuracy")


def draw_guide():
    questions = {
        "batches": Question("In batches?", {"Yes": "new", "No": "new"}, {"No": "inductive"}),
        "new": Question("A new domain?", {"Yes": "compare", "No": "take C"}),
    }
    ends = {"compare": End("Compare."), "take C": End("Take C.", ["C"])}
    return guide(questions, ends, scores=SCORES, label="Which?")


@pytest.fixture(scope="module")
def lines():
    return chapter("reptile", "slopes = ", "def walk(")


@pytest.fixture(scope="module")
def everything(lines):
    return {
        "bowls": draw_bowls(),
        "solution_sets": draw_lines(lines),
        "directions": draw_arrows(),
        "conflicts": draw_valley(),
        "penalties": draw_penalties(ridge()),
        "judging": draw_order(),
        "results": draw_table(),
        "guide": draw_guide(),
    }


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width">
<style>:root { color-scheme: light dark; } body { margin: 8px; }
@media (prefers-color-scheme: dark) { body { background: #14181e; color: #ced6dd; } }</style>"""


@pytest.fixture
def opened(browser, tmp_path):
    """Open a page with these widgets, from disk and without a network; nothing may go wrong."""
    visits = []

    def open_page(*shown, **options):
        path = tmp_path / f"page{len(visits)}.html"
        body = "".join(one if isinstance(one, str) else one.data for one in shown)
        path.write_text(f"{PAGE}<main>{body}</main>", encoding="utf-8")
        visits.append(Visit(browser, path, **options))
        return visits[-1].page

    yield open_page
    for visit in visits:
        visit.context.close()
        assert visit.problems == []


def values(page, kind):
    return page.evaluate(f"document.querySelector('[id^={kind}-]').values")


def close(found, expected):
    expected = torch.as_tensor(expected, **double)
    torch.testing.assert_close(torch.tensor(found, **double), expected, **EXACT)


# Bowls


def on_bowls(found, start, **settings):
    """The mean loss and its slope that the package finds at a start, on the bowls of a page."""
    steepness = torch.tensor([bowl["h"] for bowl in found["bowls"]], **double)
    optima = torch.tensor([bowl["c"] for bowl in found["bowls"]], **double)
    x = (steepness / 2).sqrt().view(-1, 1, 1)
    tasks = Episode(x, x * optima.view(-1, 1, 1), x, x * optima.view(-1, 1, 1))
    model = nn.Linear(1, 1, bias=False, **double)
    nn.init.constant_(model.weight, start)
    loss = maml_loss(model, tasks, inner_lr=found["alpha"], **settings)
    loss.backward()
    return loss.item(), model.weight.grad.item()


def check_bowls(page):
    found = values(page, "bowls")
    starts = found["starts"]
    kinds = {
        "joint training": {"inner_steps": 0},
        "first-order MAML": {"inner_steps": 1, "first_order": True},
        "MAML": {"inner_steps": 1},
    }
    for name, settings in kinds.items():
        if starts[name]["at"] is not None:
            assert abs(on_bowls(found, starts[name]["at"], **settings)[1]) < 1e-9
    optima = [bowl["c"] for bowl in found["bowls"]]
    close(starts["mean of the optima"]["at"], sum(optima) / len(optima))
    for one in starts.values():
        if one["at"] is not None:
            close(one["before"], on_bowls(found, one["at"], inner_steps=0)[0])
            close(one["after"], on_bowls(found, one["at"], inner_steps=1)[0])
            ends = [
                one["at"] - found["alpha"] * bowl["h"] * (one["at"] - bowl["c"])
                for bowl in found["bowls"]
            ]
            close(one["ends"], ends)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_starts_of_the_bowls_are_those_that_the_package_descends_to(opened, seed):
    draws = random.Random(seed)
    optima = [draws.uniform(-2, 2) for _ in range(2 + seed % 2)]
    steepness = [draws.uniform(0.2, 8) for _ in optima]
    found = check_bowls(opened(draw_bowls(optima, steepness, draws.uniform(0, 0.12))))
    assert found["starts"]["first-order MAML"]["at"] is not None
    least = min(one["after"] for one in found["starts"].values())
    assert least == found["starts"]["MAML"]["after"]


def test_the_bowls_are_those_of_the_chapter(opened):
    names = chapter("maml", "def best_start")
    for alpha in (0.0, 0.1, 0.2, 0.25, 0.3):
        page = opened(draw_bowls(names["optima"], names["steepness"], alpha))
        start = check_bowls(page)["starts"]["MAML"]["at"]
        assert start == pytest.approx(names["best_start"](alpha), abs=1e-6)  # float32 there


def test_a_start_that_first_order_would_run_away_from_is_none(opened):
    """Where the steep step overshoots its weight is negative, and the sum of weights may be."""
    page = opened(draw_bowls(alpha=0.4))
    found = check_bowls(page)
    assert found["starts"]["first-order MAML"]["at"] is None
    assert page.get_by_text("diverges").count() == 1
    # gradient descent by the package moves on and on
    slopes = [on_bowls(found, x, inner_steps=1, first_order=True)[1] for x in (-50, 50)]
    assert slopes[0] > 0 > slopes[1]


def test_starts_that_are_equally_good_are_named_together(opened):
    """At α = 0.25 the steep task counts for neither kind of MAML."""
    page = opened(draw_bowls(alpha=0.25))
    assert page.get_by_text("After one: first-order MAML and MAML, equally.").count() >= 1
    page.locator(".rate").fill("0")
    told = page.locator(".told").inner_text()
    assert "step: joint training, first-order MAML and MAML, equally." in told


# Reptile


@pytest.mark.parametrize(
    ("steps", "rate", "start"), [(1, 0.5, None), (30, 1.0, [0.3, 1.1]), (4, 0.15, [-1.5, -2])]
)
def test_the_path_of_reptile_is_that_of_the_chapter(opened, lines, steps, rate, start):
    page = opened(draw_lines(lines, start, steps, rate))
    found = values(page, "solution_sets")
    names = chapter("reptile", "slopes = ", "def walk(")
    names["START"] = torch.tensor(found["start"], **double)
    close(found["path"], names["reptile_path"](steps, rate))
    close(found["goals"]["nearest to all"], lines["lowest"](torch.ones(3, **double)))
    steepness = lines["slopes"].square().sum(1)
    close(found["goals"]["joint training"], lines["lowest"](steepness))
    assert len(found["path"]) == 301 and found["now"] == found["path"][0]


def test_one_outer_step_is_that_of_the_package(opened, lines):
    page = opened(draw_lines(lines, [0.4, -1.2], steps=5, rate=0.3))
    slope, offset = lines["slopes"][:1, None] / 2**0.5, lines["offsets"][:1, None] / 2**0.5
    plane = nn.Linear(2, 1, bias=False, **double)
    plane.weight.data = torch.tensor([[0.4, -1.2]], **double)
    line = Episode(slope[0], offset, slope[0, :0], offset[:0])
    inner = {"inner_lr": lines["INNER_LR"], "inner_steps": 5}
    end = reptile_step(plane, line, meta_lr=0.3, **inner)["weight"][0]
    close(values(page, "solution_sets")["path"][1], end)
    page.get_by_role("button", name="One outer step").click()
    found = values(page, "solution_sets")
    assert found["taken"] == 1 and found["now"] == found["path"][1]
    page.get_by_role("button", name="All of them").click()
    assert values(page, "solution_sets")["now"] == found["path"][300]


# Conflicts


def check_surgery(page, kind="directions"):
    """Sum, PCGrad and MGDA against the package, on gradients of all kinds."""
    script = """([kind, name, rows, orders]) => document.querySelector(`[id^=${kind}-]`)
        .combine[name](rows, orders ? (task) => orders[task] : undefined)"""
    for seed in range(60):
        tasks, size = (2, 2, 3, 6)[seed % 4], (2, 5, 50)[seed % 3]
        rows = torch.randn(tasks, size, generator=seeded(seed), **double)
        rows *= torch.logspace(0, seed % 3, tasks, **double)[:, None]
        drawn = seeded(seed)
        orders = [torch.randperm(tasks, generator=drawn).tolist() for _ in range(tasks)]
        expected = {"sum": rows.sum(0), "PCGrad": pcgrad(rows, seeded(seed)), "MGDA": mgda(rows)}
        for name, direction in expected.items():
            given = orders if name == "PCGrad" and tasks > 2 else None
            found = page.evaluate(script, [kind, name, rows.tolist(), given])
            size = rows.norm(dim=1).max()
            torch.testing.assert_close(
                torch.tensor(found, **double) / size, direction / size, rtol=0, atol=1e-9
            )


def test_sum_pcgrad_and_mgda_are_those_of_the_package(opened):
    check_surgery(opened(draw_arrows()))


def chapter_descends(name, start, lr, steps, **options):
    """The descent of the chapter, from another start."""
    names = chapter(
        "conflicting_gradients",
        "def landscape(",
        "def descend(",
        changes=(
            ("[-3.0, 0.5]", str(list(start))),
            ("tensor(path)", "tensor(path, dtype=torch.float64)"),
        ),
        task_gradients=task_gradients,
    )
    combine = {"sum": lambda rows: rows.sum(0), "PCGrad": pcgrad, "MGDA": mgda}
    return names["descend"](combine[name], lr, steps=steps, **options)


@pytest.mark.parametrize(
    ("start", "lr", "steps"), [((-3, 0.5), 0.05, 25), ((1.0, -1.5), 0.01, 40), ((4.5, 1), 0.3, 8)]
)
def test_the_descent_is_that_of_the_chapter(opened, start, lr, steps):
    """For some steps exactly: on these walls rounding grows, and later steps differ by it."""
    found = values(opened(draw_valley(start, lr)), "conflicts")
    for name, path in found["paths"].items():
        expected = chapter_descends(name, start, lr, steps)
        torch.testing.assert_close(
            torch.tensor(path[: steps + 1], **double), expected, rtol=0, atol=1e-6
        )
        close(path[:6], expected[:6])


def test_momentum_is_that_of_torch(opened):
    page = opened(draw_valley())
    page.get_by_label("momentum").fill("0.9")
    found = values(page, "conflicts")
    kind = lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)  # noqa: E731
    for name, path in found["paths"].items():
        close(path[:21], chapter_descends(name, (-3, 0.5), 0.05, 20, kind=kind))


def test_the_page_ends_where_the_chapter_says(opened):
    """After all steps, of which rounding decides the last digits: who arrives, and who does not."""
    found = values(opened(draw_valley()), "conflicts")
    for name, path in found["paths"].items():
        expected = chapter_descends(name, (-3, 0.5), 0.05, 300)[-1, 0].item()
        assert path[300][0] == pytest.approx(expected, abs=0.5)
    assert found["paths"]["sum"][300][0] < 0 < 3.5 < found["paths"]["PCGrad"][300][0]


# Hypergradients


def check_penalties(page, names):
    """The slope by automatic differentiation through the solution, and Adam by PyTorch."""
    found, judged = values(page, "penalties"), names["judged"]
    for place in ([2.0, -6.0], [-1.0, 2.5], [-6.5, 0.0]):
        slope = page.evaluate(f"document.querySelector('[id^=penalties-]').values.slope({place})")
        close(slope, grad(judged)(torch.tensor(place, **double)))
    start = torch.tensor(found["start"], **double)
    path = names["descend"](start, grad(judged), steps=len(found["path"]) - 1)
    torch.testing.assert_close(torch.tensor(found["path"], **double), path, rtol=0, atol=1e-6)
    for told, place in (("before", start), ("now", path[found["taken"]])):
        tested = F.mse_loss(names["test_x"] @ names["optimum"](place), names["test_y"])
        expected = torch.stack([judged(place), tested])
        torch.testing.assert_close(torch.tensor(found[told], **double), expected, rtol=1e-6, atol=0)
    return found


@pytest.mark.parametrize(("seed", "start"), [(None, (-6, 2)), (7, (2.5, 2.5))])
def test_the_path_over_penalties_is_that_of_torch(opened, seed, start):
    names = ridge(seed)
    found = check_penalties(opened(draw_penalties(names, start)), names)
    assert found["now"][0] < found["before"][0]


def test_the_cross_stands_where_the_test_loss_is_lowest_on_the_map(opened):
    names = ridge()
    axis = torch.linspace(-7, 3, 41, **double)
    tested = {
        (a, b): F.mse_loss(
            names["test_x"] @ names["optimum"](torch.tensor([a, b], **double)), names["test_y"]
        ).item()
        for a in axis.tolist()
        for b in axis.tolist()
    }
    page = opened(draw_penalties(names))
    best = values(page, "penalties")["best"]
    close(best["at"], min(tested, key=tested.get))
    close(best["judged"], min(tested.values()))
    lowest = min(names["judged"](torch.tensor(at, **double)).item() for at in tested)
    close(values(page, "penalties")["lowest"], lowest)


def test_the_start_over_penalties_is_dragged_and_the_path_follows(opened):
    names = ridge()
    page = opened(draw_penalties(names))
    page.locator(".handle").focus()
    for key in ("ArrowLeft", "Shift+ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    page.get_by_label("steps taken").fill("7")
    found = check_penalties(page, names)
    close(found["start"], [1.9, -4.9])
    assert found["taken"] == 7 and "After 7 steps" in page.locator(".told").inner_text()


# Gains and harm


def test_the_gains_say_whom_a_direction_harms(opened):
    page = opened(draw_arrows())
    found = values(page, "directions")
    rows = torch.tensor(found["gradients"], **double)
    made = {"sum": rows.sum(0), "PCGrad": pcgrad(rows), "MGDA": mgda(rows)}
    for name, direction in made.items():
        close(found["made"][name], direction)
        close(found["gains"][name], rows @ direction)
    assert found["gains"]["sum"][1] < 0
    assert page.locator("td", has_text="harmed").count() == 1


# Judging


def uniform(seed, many):
    """The numbers that the page draws (mulberry32), in numpy."""
    with np.errstate(over="ignore"):
        state = np.uint32(seed) + np.arange(1, many + 1, dtype=np.uint32) * np.uint32(0x6D2B79F5)
        mix = (state ^ state >> 15) * (state | 1)
        mix = (mix + (mix ^ mix >> 7) * (mix | 61)) ^ mix
        return (mix ^ mix >> 14) / 2**32


def flips(one, other, count, trials, seed=5):
    """How often the worse of two comes out ahead or level: on own tasks, on the same."""
    draws = (uniform(seed, 2 * trials * count) * len(one)).astype(int).reshape(trials, count, 2)
    if one.sum() < other.sum():
        one, other = other, one
    mine, its = draws[..., 0], draws[..., 1]
    leads = one[mine] - other[its], one[mine] - other[mine]
    return [int((lead.sum(axis=1) <= 0).sum()) for lead in leads]


def check_flips(page, given):
    found = values(page, "judging")
    one, other = (given[name].numpy().astype(int) for name in found["ahead"])
    assert found["flips"] == flips(one, other, found["count"], found["trials"])
    close(found["lead"], 100 * (one.mean() - other.mean()) / 75)
    return found


def test_flips_are_what_numpy_counts(opened):
    given = answers()
    page = opened(draw_order(given))
    seen = []
    for place in (0, 1, 2):
        page.get_by_label("test tasks").fill(str(place))
        seen.append(check_flips(page, given)["flips"])
    assert seen[0][0] > seen[2][0] > 0 and all(own >= same for own, same in seen)
    page.get_by_label("one method").select_option("C")
    assert check_flips(page, given)["ahead"] == ["B", "C"]
    assert page.get_by_label("another").locator("option[disabled]").all_inner_texts() == ["C"]


def test_flips_are_about_as_frequent_as_the_chapter_counts(opened):
    given = answers(tasks=1000)
    found = check_flips(opened(draw_order(given)), given)
    wrong_winner = chapter("fair_comparison", "def wrong_winner(")["wrong_winner"]
    shares = wrong_winner(given["A"].double() / 75, given["B"].double() / 75, 16)
    for counted, share in zip(found["flips"], shares, strict=True):
        error = (share * (1 - share) * (1 / 500 + 1 / 4000)) ** 0.5
        assert abs(counted / 500 - share) < 4 * error


# The table and the guide


def test_the_table_sorts_and_filters(opened):
    page = opened(draw_table())
    shown = lambda: values(page, "results")  # noqa: E731
    assert shown()["rows"] == ["A", "B", "C"] and len(shown()["columns"]) == 4
    head = page.get_by_role("button", name="1 shot, transductive")
    head.click()
    assert shown()["rows"] == ["B", "C", "A"]
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("1 shot, transductive")
    head.click()
    assert shown()["rows"] == ["A", "C", "B"]
    page.get_by_label("statistics").select_option("inductive")
    assert shown()["columns"] == ["1 shot, inductive", "5 shots, inductive"]
    assert shown()["rows"] == ["A", "B", "C"]  # its column is gone
    page.get_by_label("shots").select_option("5 shots")
    page.get_by_label("cost").select_option("passes")
    assert shown()["columns"] == ["5 shots, inductive", "passes"]
    page.get_by_role("button", name="passes").click()
    assert shown()["rows"] == ["A", "C", "B"]
    page.get_by_label("at most").fill("1")
    assert shown()["rows"] == ["A", "C"]
    assert page.locator("tbody tr:visible").count() == 2
    page.get_by_role("button", name="method").click()
    assert shown()["rows"] == ["A", "C"]


def test_the_highest_mean_of_the_rows_shown_is_bold(opened):
    page = opened(draw_table())
    assert page.locator("td.most:visible").all_inner_texts() == [
        *("41.0 ± 12.7", "71.0 ± 12.7", "71.0 ± 12.7", "71.0 ± 12.7", "91.0 ± 12.7"),
    ]  # of the rows A, B and C, in 5 shots, inductive two
    page.get_by_label("cost").select_option("time")
    page.get_by_label("at most").fill("0")
    assert len(page.locator("td.most:visible").all_inner_texts()) == 4  # one row is left


def test_the_guide_ends_in_a_row_of_the_table(opened):
    page = opened(draw_table(), draw_guide())
    asked = page.locator(".ask")
    assert asked.inner_text() == "In batches?"
    page.get_by_role("button", name="No", exact=True).click()
    assert asked.inner_text() == "A new domain?"
    assert page.evaluate("document.activeElement.className") == "ask"
    page.get_by_role("button", name="No", exact=True).click()
    assert values(page, "guide")["rows"] == ["C"]
    cells = page.locator("[id^=guide-] table").inner_text().split("\n")
    assert [line.split("\t") for line in cells] == [
        ["accuracy, %", "1 shot, inductive", "5 shots, inductive"],
        ["C", "21.0 ± 12.7", "61.0 ± 12.7"],
    ]
    page.get_by_label("at most").locator("visible=true").count()
    page.get_by_role("button", name="Show it in the table").click()
    assert page.locator("tr.found").get_attribute("data-method") == "C"
    page.get_by_role("button", name="Change the answer to: In batches?").click()
    assert asked.inner_text() == "In batches?"
    page.get_by_role("button", name="Yes").click()
    page.get_by_role("button", name="Yes").click()
    assert asked.inner_text() == "Compare."
    assert not page.get_by_role("button", name="Show it in the table").is_visible()
    page.get_by_role("button", name="Begin again").click()
    assert asked.inner_text() == "In batches?"


def test_a_row_that_is_filtered_away_comes_back_when_the_guide_leads_to_it(opened):
    page = opened(draw_table(), draw_guide())
    page.get_by_label("cost").select_option("time")
    page.get_by_label("at most").fill("0")
    assert values(page, "results")["rows"] == ["B"]
    for name in ("Yes", "No", "Show it in the table"):
        page.get_by_role("button", name=name, exact=True).click()
    assert page.locator("tr.found").is_visible()


# As they stand in the chapters


def placed(name, kind):
    """The widget of a kind in the stored outputs of a chapter."""
    notebook = nbformat.read(CHAPTERS / f"{name}.ipynb", as_version=4)
    outputs = [o for one in notebook.cells if one.cell_type == "code" for o in one.outputs]
    pages = [o.data.get("text/html", "") for o in outputs if "data" in o]
    found = [page for page in pages if f'id="{kind}-' in page]
    if not found:
        pytest.skip(f"{name} has no {kind}")
    return found[0]


def test_the_bowls_in_the_chapter_are_its_own(opened):
    found = check_bowls(opened(placed("maml", "bowls")))
    names = chapter("maml", "def best_start")
    assert [bowl["c"] for bowl in found["bowls"]] == names["optima"].tolist()
    assert [bowl["h"] for bowl in found["bowls"]] == names["steepness"].tolist()


def test_the_walk_in_the_chapter_is_its_own(opened, lines):
    found = values(opened(placed("reptile", "solution_sets")), "solution_sets")
    close(found["path"], lines["reptile_path"](found["steps"], found["rate"]))


def test_the_conflicts_in_the_chapter_are_its_own(opened):
    check_surgery(opened(placed("conflicting_gradients", "directions")))
    found = values(opened(placed("conflicting_gradients", "conflicts")), "conflicts")
    assert (found["start"], found["rate"], len(found["paths"]["sum"])) == ([-3, 0.5], 0.05, 301)
    for name, path in found["paths"].items():
        close(path[:6], chapter_descends(name, found["start"], 0.05, 5))


def test_the_penalties_in_the_chapter_are_its_own(opened):
    names = ridge()
    found = check_penalties(opened(placed("learned_settings", "penalties")), names)
    assert (found["start"], len(found["path"])) == ([2, -6], 61)


def test_the_methods_in_the_chapter_flip_as_numpy_counts(opened):
    page = opened(placed("fair_comparison", "judging"))
    stored = load_checkpoint(result_path("fair_comparison/answers_0.zip"))
    kinds = page.get_by_label("one method").locator("option").all_inner_texts()
    check_flips(page, {name: stored[f"1/glyphs/{name}"][0] for name in kinds})


def test_every_way_through_the_guide_of_the_chapter_ends_in_the_table(opened):
    page = opened(placed("fair_comparison", "results"), placed("fair_comparison", "guide"))
    rows = values(page, "results")["rows"]

    def walk(given):
        page.reload()
        for name in given:
            page.locator(".answers").get_by_role("button", name=name, exact=True).click()
        names = page.locator(".answers button").all_inner_texts()
        if "Begin again" in names:
            ended.append(values(page, "guide")["rows"])
            assert set(ended[-1]) <= set(rows)
        else:
            for name in names:
                walk([*given, name])

    ended = []
    walk([])
    assert len(ended) > 5 and sum(bool(names) for names in ended) > len(ended) / 2


# By mouse, keyboard and touch


DRAGGED = ("bowls", "solution_sets", "directions", "conflicts", "penalties")
KINDS = (*DRAGGED, "judging", "results", "guide")
each_kind = pytest.mark.parametrize("kind", KINDS)


def place_of(handle):
    box = handle.locator("circle").last.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("kind", DRAGGED)
def test_points_are_dragged_by_mouse(opened, everything, kind):
    page = opened(everything[kind])
    for handle in page.get_by_role("slider").and_(page.locator(".handle")).all():
        before, (x, y) = values(page, kind), place_of(handle)
        page.mouse.move(x + 5, y)  # not quite in the middle
        page.mouse.down()
        page.mouse.move(x + 25, y - 15, steps=3)
        page.mouse.up()
        at = place_of(handle)
        assert abs(at[0] - x - 20) < 1.5 or abs(at[1] - y + 15) < 1.5
        assert values(page, kind) != before
        moved = values(page, kind)
        page.mouse.move(x + 60, y + 60)
        assert values(page, kind) == moved  # it was let go
    page.get_by_role("button", name="As at the beginning").click()
    assert values(page, kind) == values(opened(everything[kind]), kind)


@pytest.mark.parametrize("kind", DRAGGED)
def test_points_are_dragged_by_finger_and_the_page_stays_where_it_is(opened, everything, kind):
    page = opened(everything[kind], '<div style="height: 2000px"></div>', width=390)
    handle = page.locator(".handle").first
    handle.scroll_into_view_if_needed()
    (x, y), before, scrolled = place_of(handle), values(page, kind), page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)
    for type_, dx, dy in (("touchStart", 0, 0), ("touchMove", 12, -8), ("touchMove", 24, -16)):
        point = {"x": x + dx, "y": y + dy}
        touch.send("Input.dispatchTouchEvent", {"type": type_, "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    at = place_of(handle)
    assert abs(at[0] - x - 24) < 1.5
    assert values(page, kind) != before and page.evaluate("scrollY") == scrolled


@pytest.mark.parametrize("kind", DRAGGED)
def test_points_are_moved_by_arrow_keys_and_say_where_they_are(opened, everything, kind):
    page = opened(everything[kind])
    for handle in page.locator(".handle").all():
        handle.focus()
        assert handle.get_attribute("aria-label")
        told = handle.get_attribute("aria-valuetext")
        seen = {told}
        for key in ("ArrowUp", "ArrowUp"):
            page.keyboard.press(key)
            seen.add(handle.get_attribute("aria-valuetext"))
        assert len(seen) == 3 and page.evaluate("scrollY") == 0
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert handle.get_attribute("aria-valuetext") == told
        page.keyboard.press("Control+ArrowUp")
        assert handle.get_attribute("aria-valuetext") == told
        assert handle.locator(".ring").evaluate("node => getComputedStyle(node).stroke") != "none"


def test_a_point_goes_no_farther_than_its_axes(opened):
    page = opened(draw_bowls())
    lowest, arm = page.locator(".handle").nth(0), page.locator(".handle").nth(1)
    lowest.focus()
    page.keyboard.press("End")
    assert values(page, "bowls")["bowls"][0]["c"] == 2
    page.keyboard.press("Home")
    assert values(page, "bowls")["bowls"][0]["c"] == -2
    arm.focus()
    page.keyboard.press("End")
    assert values(page, "bowls")["bowls"][0]["h"] == 8
    check_bowls(page)


@each_kind
def test_everything_can_be_reached_and_used_by_keyboard_alone(opened, everything, kind):
    """Tab goes to each control in turn, and a key that it knows changes something."""
    page = opened(everything[kind])
    controls = page.locator("button:visible, input:visible, select:visible, .handle").count()
    keys = {"BUTTON": ["Enter"], "SELECT": ["ArrowDown", "ArrowUp"]}
    unchanging = ("As at the beginning", "All of them", "method")  # where it is already so
    reached = 0
    for _ in range(1 if kind == "guide" else controls):
        page.keyboard.press("Tab")
        at, text = page.evaluate(
            "[document.activeElement.tagName, document.activeElement.textContent]"
        )
        if at == "BODY":
            break
        before, reached = json.dumps(values(page, kind)), reached + 1
        for key in keys.get(at, ["ArrowUp", "ArrowDown", "ArrowDown"]):
            page.keyboard.press(key)
            page.wait_for_timeout(150 if text == "Play" else 0)
            if json.dumps(values(page, kind)) != before:
                break
        else:
            assert text in unchanging, f"{at} {text} does nothing"
    # in the table, a choice of columns takes away the heads of others
    assert reached >= {"guide": 1, "results": 6}.get(kind, controls)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits_a_telephone_and_can_be_read(opened, everything, scheme):
    page = opened(*everything.values(), width=390, scheme=scheme)
    assert overhang(page) <= 0
    assert faint_text(page, ".moving *") == []
    for handle in page.locator(".handle").all():
        assert handle.locator("circle").first.bounding_box()["width"] >= 32
    page.set_viewport_size({"width": 320, "height": 800})
    assert overhang(page) <= 0


def test_what_has_changed_is_read_out_once_the_reader_rests(opened, everything):
    page = opened(everything["bowls"])
    told = page.locator("[role=status]")
    assert told.get_attribute("aria-live") == "polite" and told.inner_text() == ""
    page.wait_for_timeout(900)
    before = told.inner_text()
    page.get_by_label("inner step size").fill("0")
    assert told.inner_text() == before
    page.wait_for_timeout(900)
    assert told.inner_text() == page.locator(".told [aria-hidden]").inner_text() != before


def test_a_walk_is_played_where_motion_is_wanted(opened, lines):
    page = opened(draw_lines(lines), draw_valley())
    for kind in ("solution_sets", "conflicts"):
        play = page.locator(f"[id^={kind}-]").get_by_role("button", name="Play")
        before = values(page, kind)["taken"]
        play.click()
        page.wait_for_timeout(400)
        page.locator(f"[id^={kind}-]").get_by_role("button", name="Pause").click()
        taken = values(page, kind)["taken"]
        assert taken != before
        page.wait_for_timeout(200)
        assert values(page, kind)["taken"] == taken
    page.emulate_media(reduced_motion="reduce")
    page.reload()
    assert page.get_by_role("button", name="Play").count() == 0


def test_several_of_a_kind_stand_on_a_page_and_leave_nothing_behind(opened, everything):
    names = "Object.keys(window).sort()"
    bare = opened("").evaluate(names)
    page = opened(*everything.values(), draw_bowls(alpha=0.1), draw_valley(lr=0.1))
    assert page.evaluate(names) == bare
    alphas = page.evaluate(
        "[...document.querySelectorAll('[id^=bowls-]')].map(n => n.values.alpha)"
    )
    assert alphas == [0.2, 0.1]
    page.get_by_label("inner step size").nth(1).fill("0.3")
    alphas = page.evaluate(
        "[...document.querySelectorAll('[id^=bowls-]')].map(n => n.values.alpha)"
    )
    assert alphas == [0.2, 0.3]


# Bugs in the page


def with_bug(shown, right, wrong):
    assert shown.data.count(right) >= 1
    return shown.data.replace(right, wrong)


BUGS = {
    "PCGrad adds what it should take away": ("value - part *", "value + part *"),
    "PCGrad projects where nothing conflicts": ("|| along >= 0", "|| along < 0"),
    "PCGrad projects off what has been projected": ("gradients[other][k]", "own[k]"),
    "MGDA takes more than there is": ("Math.min(weights[worst], ", "Math.max(weights[worst], "),
    "MGDA goes to the worst": ("indexOf(Math.min(", "indexOf(Math.max("),
    "the sum is a mean": (
        "gradients.map(() => 1), gradients)",
        "gradients.map(() => 0.5), gradients)",
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_in_the_surgery_is_noticed(opened, name):
    with pytest.raises((AssertionError, TypeError)):
        check_surgery(opened(with_bug(draw_arrows(), *BUGS[name])))


BUGS_OF_BOWLS = {
    "MAML without its square": ("h * (1 - a * h) ** 2", "h * (1 - a * h)"),
    "a step uphill": ("at - alpha * h", "at + alpha * h"),
    "first order with the square": (
        "(h, a) => h * (1 - a * h),",
        "(h, a) => h * (1 - a * h) ** 2,",
    ),
    "a loss without its half": ("(place - c) ** 2 / 2, step", "(place - c) ** 2, step"),
}


@pytest.mark.parametrize("name", BUGS_OF_BOWLS)
def test_a_bug_in_the_bowls_is_noticed(opened, name):
    with pytest.raises(AssertionError):
        check_bowls(opened(with_bug(draw_bowls(), *BUGS_OF_BOWLS[name])))


def test_a_bug_in_the_walk_the_valley_or_the_count_is_noticed(opened, lines):
    for right, wrong in (
        ("rate * (1 - outer / total)", "rate"),
        ("- given.alpha", "+ given.alpha"),
    ):
        found = values(opened(with_bug(draw_lines(lines), right, wrong)), "solution_sets")
        with pytest.raises(AssertionError):
            close(found["path"], lines["reptile_path"](3, 0.5))
    for right, wrong in (
        ("-push * valley.bends", "push * valley.bends"),
        ("rate * speed", "speed"),
    ):
        found = values(opened(with_bug(draw_valley(), right, wrong)), "conflicts")
        with pytest.raises(AssertionError):
            close(found["paths"]["PCGrad"][:6], chapter_descends("PCGrad", (-3, 0.5), 0.05, 5))
    for right, wrong in (("value <= 0", "value < 0"), ("- other[mine]", "- other[its]")):
        given = answers()
        with pytest.raises(AssertionError):
            check_flips(opened(with_bug(draw_order(given, count=8), right, wrong)), given)


BUGS_OF_PENALTIES = {
    "the derivative without its sign": ("=> -w.reduce", "=> w.reduce"),
    "a penalty where its logarithm belongs": ("Math.exp(s[group])", "s[group]"),
    "half of the squared error's slope": ("2 * (dot(validation", "(dot(validation"),
    "all weights for each penalty": ("given.groups[i] === group", "true"),
    "the path on the test examples": ("dot(validation.gram[i], w) -", "dot(test.gram[i], w) -"),
    "Adam without the correction of its first moment": ("(1 - 0.9 ** step)", "0.1"),
    "a loss without the products' factor": ("- 2 * moment[i]", "- moment[i]"),
}


@pytest.mark.parametrize("name", BUGS_OF_PENALTIES)
def test_a_bug_in_the_penalties_is_noticed(opened, name):
    names = ridge()
    with pytest.raises(AssertionError):
        check_penalties(opened(with_bug(draw_penalties(names), *BUGS_OF_PENALTIES[name])), names)

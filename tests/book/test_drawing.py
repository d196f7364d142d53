"""Drawing in the page: it sees, learns and answers as the package does, however one draws."""

import os

import pytest
import torch
from test_pages import HEAD, ROOT, Visit

from metalearn_lite.datasets import crop_to_ink, glyphs, omniglot
from metalearn_lite.maml import maml_predict
from metalearn_lite.models import conv4, new_head
from metalearn_lite.prototypes import prototype_predict
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.transfer import fine_tune
from metalearn_lite.widgets.characters import SIDE, Answering, course_methods, drawing

ROWS = ("nearest pixel", "prototypes", "fine-tuning", "MAML", "MAML, batch statistics")


def methods():
    """Networks that were not trained, with large enough weights for clear answers."""
    group, batch = (conv4(5, 8, norm, generator=seeded(0)) for norm in ("group", "batch"))
    return {
        "nearest pixel": Answering(),
        "prototypes": Answering(group),
        "fine-tuning": Answering(group, 3, 0.1, fresh_head=True),
        "MAML": Answering(group, 4, 0.1),
        "MAML, batch statistics": Answering(batch, 4, 0.1, company=True),
    }


class Sheet(Visit):
    """The widget in a page that was opened from disk without a network."""

    def __init__(self, browser, folder, html, **window):
        path = folder / "drawing.html"
        path.write_text(f"{HEAD}<title>drawing</title>{html}", encoding="utf-8")
        super().__init__(browser, path, **window)
        self.learned()

    def run(self, script, *data):
        body = f"(data) => {{ const root = document.querySelector('.drawing'); {script} }}"
        return self.page.evaluate(body, *data)

    def learned(self):
        self.page.wait_for_function(
            "() => document.querySelector('.drawing').page?.learned()", timeout=60_000
        )

    def place(self, task):
        """Put a task on the sheet: drawings ``(n, 1, SIDE, SIDE)`` with labels, one query."""
        counts = [0] * 5
        for x, k in zip(task.support_x, task.support_y.tolist(), strict=True):
            self.run("root.page.place(...data)", [k, counts[k], x.flatten().tolist()])
            counts[k] += 1
        self.ask(task.query_x[0])
        self.learned()

    def ask(self, x):
        self.run("root.page.place(5, 0, data); root.page.settle()", x.flatten().tolist())

    def answers(self, company="alone"):
        """Return the shares, by method."""
        self.page.select_option(".company", company)
        found = self.run("return root.page.answer()")
        return {name: torch.tensor(row, dtype=torch.float64) for name, row in found.items()}

    def ink(self):
        """Count the points of the sheet that are drawn on."""
        return self.run("return root.page.ink()")


@pytest.fixture(scope="module")
def tray():
    return {"Georgian": glyphs(examples=4).images[:6, :3, 0]}


@pytest.fixture(scope="module")
def sheet(browser, tray, tmp_path_factory):
    html = drawing(methods(), tray, label="Who?", about="").data
    sheet = Sheet(browser, tmp_path_factory.mktemp("drawing"), html)
    yield sheet
    assert sheet.problems == []
    sheet.context.close()


def strokes(count, seed):
    """Drawings of a line and a box each, somewhere, of ink that is 0 or 1."""
    g, x = seeded(seed), torch.zeros(count, 1, SIDE, SIDE)
    for one in x:
        a, b, c, d = torch.randint(5, 60, (4,), generator=g).tolist()
        one[0, a : a + 40, b : b + 3] = one[0, c : c + 3, d : d + 40] = 1
    return x


def seen_by_the_package(task):
    return Episode.unlabelled(
        crop_to_ink(task.support_x, 28).double(),
        task.support_y,
        crop_to_ink(task.query_x, 28).double(),
    )


def as_stored(model, outputs=5):
    """The network with its weights rounded as the page has them."""
    found = conv4(outputs, 8, "batch" if "Batch" in str(model) else "group").double()
    found.load_state_dict({name: p.half().double() for name, p in model.state_dict().items()})
    return found


def by_the_package(task, statistics="single"):
    """What the package answers to the same drawings."""
    task, own = seen_by_the_package(task), methods()
    group, batch = (as_stored(own[name].network) for name in ("MAML", "MAML, batch statistics"))
    tuned = fine_tune(new_head(group, 5), task.support_x, task.support_y, steps=3, lr=0.1)
    inner = {"inner_steps": 4, "inner_lr": 0.1}
    logits = {
        "prototypes": prototype_predict(group, task),
        "fine-tuning": tuned(task.query_x).detach(),
        "MAML": maml_predict(group, task, **inner),
        "MAML, batch statistics": maml_predict(batch, task, statistics=statistics, **inner),
    }
    found = {name: rows.softmax(1)[0] for name, rows in logits.items()}
    away = torch.cdist(task.query_x.flatten(1), task.support_x.flatten(1))[0]
    nearest = [away[task.support_y == k].min() for k in range(5)]
    return found | {"nearest pixel": -torch.stack(nearest)}


def task_of(labels, seed=0):
    x = strokes(len(labels) + 1, seed)
    return Episode.unlabelled(x[:-1], torch.tensor(labels), x[-1:])


def test_the_page_sees_what_the_package_cuts_out(sheet):
    blank, dot = torch.zeros(2, 1, SIDE, SIDE)
    dot[0, 50, 70] = 1
    x = torch.cat([strokes(4, 1), blank[None], dot[None], torch.ones(1, 1, SIDE, SIDE)])
    for one, expected in zip(x, crop_to_ink(x.double(), 28), strict=True):
        found = sheet.run("return root.page.seen(data)", one.flatten().tolist())
        torch.testing.assert_close(
            torch.tensor(found).double().view(1, 28, 28), expected, atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4], [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 4, 4]])
@pytest.mark.parametrize(("company", "statistics"), [("alone", "single"), ("examples", "support")])
def test_all_methods_answer_as_in_the_package(sheet, labels, company, statistics):
    sheet.run("root.querySelector('.clear-all').click()")
    task = task_of(labels)
    sheet.place(task)
    found, expected = sheet.answers(company), by_the_package(task, statistics)
    assert set(found) == set(ROWS)
    for name, row in expected.items():
        torch.testing.assert_close(found[name], row.double(), atol=1e-5, rtol=1e-5)


def test_in_company_the_answer_changes_only_with_batch_statistics(sheet):
    sheet.place(task_of([0, 1, 2, 3, 4], seed=2))
    alone, crowd = sheet.answers("alone"), sheet.answers("crowd")
    moved = {name for name in ROWS if not torch.allclose(alone[name], crowd[name], atol=1e-9)}
    assert moved == {"MAML, batch statistics"}


def test_without_a_character_nobody_gives_it_a_share(sheet):
    sheet.run("root.querySelector('.clear-all').click()")
    task = task_of([1, 3])
    sheet.place(task)
    for name, row in sheet.answers().items():
        present = row.isfinite() & (row != 0)
        assert present.tolist() == [False, True, False, True, False], name
        assert name == "nearest pixel" or row.nan_to_num().sum().item() == pytest.approx(1)


def test_the_slider_goes_back_to_where_the_networks_began(sheet):
    sheet.place(task_of([0, 1, 2, 3, 4], seed=3))
    after = sheet.answers()
    sheet.page.locator(".steps").fill("0")
    before = sheet.answers()
    sheet.page.locator(".steps").fill("4")
    assert before["fine-tuning"].tolist() == pytest.approx([0.2] * 5)
    assert not torch.allclose(before["MAML"], after["MAML"], atol=1e-3)
    assert torch.equal(sheet.answers()["MAML"], after["MAML"])


def test_by_keyboard_alone_one_draws_and_takes_back(sheet):
    sheet.run("root.querySelector('.clear-all').click()")
    press = sheet.page.keyboard.press
    sheet.page.locator(".slots button").first.focus()
    press("Enter")
    sheet.page.locator(".pad").focus()
    press("Shift+ArrowRight")
    assert sheet.run("return Object.keys(root.answers)") == []
    press("Space")
    for _ in range(4):
        press("ArrowDown")
    assert "Pen down" in sheet.page.locator(".feedback").inner_text()
    press("Space")
    press("ArrowDown")
    sheet.page.locator(".undo").focus()
    drawn = sheet.ink()
    assert drawn > 40
    press("Enter")
    assert sheet.ink() == 0


def test_the_whole_way_by_keyboard(sheet):
    sheet.run("root.querySelector('.clear-all').click()")
    press = sheet.page.keyboard.press
    for slot in (0, 1, 5):
        sheet.page.locator(".slots .slot").nth(slot).get_by_role("button").first.focus()
        press("Enter")
        sheet.page.locator(".pad").focus()
        press("Space")
        for _ in range(5):
            press("ArrowDown" if slot != 1 else "ArrowRight")
        press("Space")
    sheet.learned()
    sheet.page.wait_for_timeout(600)
    assert "nearest pixel: 1" in sheet.page.locator(".feedback").inner_text()


def test_by_touch_on_a_telephone_in_the_dark(browser, tray, tmp_path):
    telephone = {"width": 390, "scheme": "dark", "has_touch": True, "is_mobile": True}
    html = drawing(methods(), tray, label="Who?", about="").data
    sheet = Sheet(browser, tmp_path, html, **telephone)
    sheet.run("root.querySelector('.clear-all').click()")
    box = sheet.page.locator(".pad").bounding_box()
    sheet.page.touchscreen.tap(box["x"] + 60, box["y"] + 60)
    assert sheet.ink() > 4
    assert sheet.page.evaluate("() => document.documentElement.scrollWidth") <= 390
    sheet.page.locator(".fill").tap()
    sheet.learned()
    assert set(sheet.answers()) == set(ROWS)
    assert sheet.problems == []
    sheet.context.close()


def test_a_browser_without_workers_learns_on_the_page(browser, tray, tmp_path):
    html = drawing(methods(), tray, label="Who?", about="").data
    none = "<script>window.Worker = function () { throw new Error('no workers here'); };</script>"
    sheet = Sheet(browser, tmp_path, none + html)
    task = task_of([0, 1, 2, 3, 4])
    sheet.place(task)
    torch.testing.assert_close(
        sheet.answers()["MAML"], by_the_package(task)["MAML"], atol=1e-5, rtol=1e-5
    )
    sheet.context.close()


def test_the_tray_places_drawings_and_more_of_a_character(sheet):
    sheet.run("root.querySelector('.clear-all').click()")
    sheet.page.locator(".tray button").first.click()
    assert sheet.ink() > 40
    assert sheet.page.locator(".slots .slot").first.locator("canvas").count() == 1
    sheet.page.get_by_label("Another drawing of character 1").click()
    sheet.page.locator(".tray button").nth(1).click()
    assert sheet.page.locator(".slots .slot").first.locator("canvas").count() == 2


def marks(sheet):
    """The heads of the columns and, cell by cell, which are marked as true in the first row."""
    heads = sheet.page.locator("thead th").all_inner_texts()
    cells = sheet.page.locator("tbody tr:first-child td")
    return heads, cells.evaluate_all("all => all.map(td => td.classList.contains('true'))")


def test_the_true_character_is_marked_until_a_hand_draws(sheet):
    sheet.page.locator(".fill").click()
    sheet.learned()
    sheet.answers()
    heads, cells = marks(sheet)
    right = cells.index(True)
    assert cells.count(True) == 1 and heads[right + 1] == f"{right + 1} ✓" and "✓" in heads[0]
    sheet.page.wait_for_timeout(600)
    assert sheet.page.locator(".feedback").inner_text().startswith(f"It is {right + 1}. nearest")
    box = sheet.page.locator(".pad").bounding_box()
    sheet.page.mouse.click(box["x"] + 10, box["y"] + 10)
    sheet.answers()
    heads, cells = marks(sheet)
    assert not any(cells) and "✓" not in "".join(heads)
    sheet.page.locator(".undo").click()
    sheet.answers()
    assert marks(sheet)[1].index(True) == right


def test_of_drawings_without_an_origin_none_is_marked(sheet):
    sheet.page.locator(".fill").click()
    sheet.place(task_of([0, 1, 2, 3, 4]))
    sheet.answers()
    assert not any(marks(sheet)[1])


def test_the_verdict_is_never_an_old_one(sheet):
    sheet.place(task_of([0, 1, 2, 3, 4]))
    sheet.answers()
    sheet.page.wait_for_timeout(600)
    assert sheet.page.locator(".feedback").inner_text().startswith("nearest pixel: ")
    sheet.run("root.querySelector('.fill').click(); root.page.answer()")
    said = sheet.page.locator(".feedback").inner_text()
    assert said == "" or said.startswith("It is ")


def test_all_columns_are_equally_wide_in_the_style_of_the_book(browser, tray, tmp_path):
    """A bar can be compared with the next one only then."""
    style = (ROOT / "_static" / "book.css").read_text(encoding="utf-8")
    html = drawing(methods(), tray, label="Who?", about="").data
    page = f"<style>{style}</style><article class='bd-article'>{html}</article>"
    sheet = Sheet(browser, tmp_path, page)
    cells = sheet.page.locator("tbody tr:first-child td")
    widths = cells.evaluate_all("all => all.map(td => td.getBoundingClientRect().width)")
    assert max(widths) - min(widths) < 1.5
    sheet.context.close()


def test_real_handwriting_is_recognised_as_well_as_in_the_package(browser, tmp_path):
    root = os.environ.get("METALEARN_OMNIGLOT")
    if not root:
        pytest.skip("METALEARN_OMNIGLOT names no folder with images_background.zip")
    held_out = omniglot(root, size=SIDE).split_groups()[1]
    own = {name: method for name, method in course_methods().items() if "," not in name}
    tray = {"any": held_out.images[:5, :2, 0]}
    sheet = Sheet(browser, tmp_path, drawing(own, tray, label="Who?", about="").data)
    tasks, generator = ImageTasks(held_out, 5, 1, 1), seeded(0)
    right = {name: [0, 0] for name in own}
    x, y = held_out.flatten()
    class_of = {drawing.numpy().tobytes(): int(k) for drawing, k in zip(x, y, strict=True)}
    met = set()
    for _ in range(12):
        task = tasks.sample(generator)
        sheet.run("root.querySelector('.clear-all').click()")
        sheet.place(task)
        met |= {class_of[x.numpy().tobytes()] for x in task.support_x}
        for x, y in zip(task.query_x, task.query_y.tolist(), strict=True):
            sheet.ask(x)
            sheet.learned()
            given = Episode.unlabelled(task.support_x, task.support_y, x[None])
            answers, expected = sheet.answers(), course_answers(own, given)
            for name, counts in right.items():
                counts[0] += int(answers[name].argmax()) == y
                counts[1] += expected[name] == y
    assert len(met) >= 20
    for name, (page, package) in right.items():
        assert abs(page - package) <= 1, f"{name}: {page} in the page, {package} in the package"
        assert page >= 30  # of 60


def course_answers(own, task):
    """What the package answers with the course's networks, in single precision."""
    x, query = (crop_to_ink(part, 28) for part in (task.support_x, task.query_x))
    found = {}
    for name, method in own.items():
        small = Episode.unlabelled(x, task.support_y, query)
        if method.network is None:
            found[name] = int(task.support_y[torch.cdist(query.flatten(1), x.flatten(1)).argmin()])
        elif not method.steps:
            found[name] = int(prototype_predict(method.network, small).argmax())
        else:
            start = new_head(method.network, 5) if method.fresh_head else method.network
            tuned = fine_tune(start, x, task.support_y, steps=method.steps, lr=method.rate)
            found[name] = int(tuned(query).argmax())
    return found

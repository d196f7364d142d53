"""Write the page of the book on the Omniglot challenge, from what omniglot_challenge.py has stored.

    python results/omniglot_challenge_page.py

Needs Omniglot in the folder named by METALEARN_OMNIGLOT, for the pictures and the pixels.
"""

import textwrap
from dataclasses import replace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from omniglot_challenge import (
    CHOSEN_ON,
    ENTRIES,
    EPISODES,
    HERE,
    LEFT_OUT,
    SCALES,
    TURNS,
    WAYS,
    WEIGHTS,
    Recipe,
    handwriting,
    load,
    score,
    seen,
)
from torch import Tensor

from metalearn_lite.checkpoint import write_atomically
from metalearn_lite.datasets import ClassImages
from metalearn_lite.evaluation import Scores, evaluate
from metalearn_lite.judging import nearest_pixel, read_ledger
from metalearn_lite.plotting import show_images, use_style
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import ImageTasks

SHOWN = 8  # wrong answers in a picture
TRAINED_ON = {
    "handwriting": "25 alphabets of handwriting",
    "glyphs": "glyphs alone, and no handwriting",
}
# Per cent wrong, in the order of the table.
PUBLISHED = {
    "a plain convolutional network": "13.5",
    "prototypical networks": "13.7",
    "Siamese networks": "8.0",
    "people": "4.5",
    "Bayesian program learning": "3.3",
}

TEXT = """# The Omniglot challenge

*Twenty characters of an alphabet that you have never seen, one drawing of each. Which of them is
this new drawing?*

{{cite:t}}`lake2015human` asked it of people, who are wrong in one case of twenty or so, and made it
a challenge to machines {{cite:p}}`lake2019omniglot`. The tasks of the chapters have five
characters, of mixed scripts; here are twenty, of one alphabet. How far does this course come, with
prototypes and less than an hour of one core?

## How many are wrong

Per cent of {episodes:,} tasks of {ways} ways, each within one alphabet, one example a class, every
query answered by itself; with 95 % intervals over tasks, from one training run each.

| | wrong (%) |
|---|---|
{rows}

The lines without an interval are published, on the {trials} trials of the challenge itself; they
are quoted from {{cite:t}}`lake2019omniglot` at second hand, and we have not checked them at their
source. Ours are not measured on those trials but on five alphabets of Omniglot's background set
that were not trained on, so the lines stand beside each other and are no comparison: which of the
two sets of alphabets is harder is not known.

**Trained on {trained_handwriting}, {wrong_handwriting} % are wrong; trained on letters that a
program drew, without a line of handwriting, {wrong_glyphs} %.** Much of what serves here can be
learned without having seen anybody write. On five ways of mixed alphabets, the task of the
chapters, {five_handwriting} and {five_glyphs} % are right.

A mean over five alphabets hides how much they differ. Per cent wrong in each:

| alphabet | characters | trained on handwriting | trained on glyphs |
|---|---|---|---|
{alphabets}

Where the characters of an alphabet differ in one bend of a line that has many, one drawing does not
say which bend counts. People were asked about other alphabets, so what they would do with these we
cannot tell.

## What the entries are

Both are prototypical networks, as in {{doc}}`../chapters/prototypes`, on four blocks of a
convolution and pooling with {parameters:,} weights; `results/omniglot_challenge.py` trains them.
Around that:

- A drawing is cut out around its ink and scaled to fill the image. Where somebody wrote and how
  large says nothing about what they wrote, and small drawings gain pixels.
- Each task in training is of one alphabet, as it will be (`within_groups=True` of `ImageTasks`),
  and a whole task may be turned by a quarter: a turned alphabet is another alphabet.
- Every drawing is turned, scaled, sheared, shifted and bent a little, anew each time.
- The network sees {size} x {size} pixels in place of 28 x 28, and glyphs are drawn so large too.
- It normalises by running statistics, so that a query depends on no other.
- At test it looks at a drawing in {views} ways, {turns} turns times {scales} sizes, and takes the
  mean of what it sees.

The settings were chosen on four of the 25 alphabets, {chosen_on}, with
the network trained on the other 21. Two things flatter our lines a little. Which of these
ingredients to take we knew in part from earlier trials, some of them scored on the five alphabets.
And the cutting out was thought of when we looked at what an earlier entry got wrong there; what it
is worth was then measured on the four.

{ingredients}

## What they get wrong

```{{figure}} omniglot_challenge/handwriting.png
:name: wrong-handwriting
:alt: {alt_handwriting}

Trained on handwriting: the new drawing, the one that was taken for its like, and the right one.
```

```{{figure}} omniglot_challenge/glyphs.png
:name: wrong-glyphs
:alt: {alt_glyphs}

The same for the entry that never saw handwriting.
```

Drawings as the network sees them, the first {shown} mistakes of each. Look at a column of
{{numref}}`wrong-handwriting` before you decide that you would have known better.
"""
MISSING = """What each is worth, one left out at a time, `--leave-out` measures; it has not been run
to its end yet."""
INGREDIENTS = """## What each ingredient is worth

One is left out at a time, at a quarter of the length, and scored on the four alphabets that the
settings were chosen on; means over {draws} training runs, and paired differences with 95 %
intervals over the runs. Of {count} such intervals one may leave out zero by chance.

| left out | wrong (%) | more than with all |
|---|---|---|
{rows}

{verdict}

Handwriting itself is worth {handwriting} points here. Without it, glyphs that are drawn with 56
pixels are worth {drawn} points more than glyphs of 28 that are stretched."""
ALT = (
    "Eight columns of three drawings, for queries that the entry trained on {what} got wrong: "
    "the query on top, the drawing that was chosen in the middle, the right one below."
)


def mistakes(name: str, data: ClassImages) -> Tensor:
    """Return the first wrong answers, ``(3, n, h, w)``: query, what was chosen, what is right."""
    tasks = ImageTasks(data, WAYS, 1, 1, within_groups=True)
    model, generator, found = load(name), seeded(3), list[Tensor]()
    while len(found) < SHOWN:
        task = tasks.sample(generator)
        with torch.no_grad():
            chosen = torch.cdist(model(task.query_x), model(task.support_x)).argmin(dim=1)
        for query in (chosen != task.query_y).nonzero().flatten()[:2]:  # at most two of a task
            taken, right = task.support_x[chosen[query]], task.support_x[task.query_y[query]]
            found.append(torch.cat([task.query_x[query], taken, right]))
    shown = seen(torch.cat(found[:SHOWN]).unsqueeze(1), model.recipe)
    return shown.view(SHOWN, 3, *shown.shape[2:]).transpose(0, 1)


def draw(name: str, data: ClassImages) -> None:
    fig, ax = plt.subplots(figsize=(7, 2.9))
    show_images(ax, mistakes(name, data), labels=["new drawing", "chosen", "right"])
    fig.savefig(WEIGHTS / f"{name}.png", dpi=110, metadata={"Software": None})
    plt.close(fig)


def per_cent(scores: Scores, *, wrong: bool = True) -> str:
    mean = 1 - scores.mean if wrong else scores.mean
    return f"{100 * mean:.1f} ± {100 * scores.half_width:.1f}"


def stored(name: str, tasks: str) -> str:
    """Return what is wrong of an entry, from its ledger."""
    ledger = read_ledger(WEIGHTS / f"{name}.json")
    mean, half = (ledger.scores(f"{tasks}/{part}").mean for part in ("wrong", "half_width"))
    return f"{mean:.1f} ± {half:.1f}"


def right(name: str) -> str:
    mean, half = stored(name, "5 ways, mixed alphabets").split(" ± ")
    return f"{100 - float(mean):.1f} ± {half}"


def by_alphabet(held_out: ClassImages) -> str:
    rows = []
    for alphabet in held_out.group_names:
        others = [name for name in held_out.group_names if name != alphabet]
        _, one = held_out.split_groups(others, (alphabet,))
        found = " | ".join(per_cent(score(load(name), one)) for name in ENTRIES)
        words = alphabet.replace("_", " ").partition("(")[0].strip()
        rows.append(f"| {words} | {len(one.images)} | {found} |")
    return "\n".join(rows)


def ingredients() -> str:
    path = HERE / "omniglot_challenge.json"
    if not path.exists():
        return MISSING
    ledger = read_ledger(path)
    more = {what: ledger.difference(what, "nothing") for what in LEFT_OUT if what != "nothing"}
    rows = [f"| nothing | {ledger.scores('nothing').mean:.1f} | |"]
    rows += [
        f"| {what} | {ledger.scores(what).mean:.1f} | {points(m)} |" for what, m in more.items()
    ]
    return INGREDIENTS.format(
        rows="\n".join(rows),
        draws=len(ledger.draws),
        count=len(more),
        verdict=verdict(more),
        handwriting=points(more["handwriting"]),
        drawn=points(ledger.difference("handwriting, and 56 pixels of a glyph", "handwriting")),
    )


def points(difference: Scores) -> str:
    mean = f"{difference.mean:.1f}".replace("-0.0", "0.0").replace("-", "\N{MINUS SIGN}")
    return f"{mean} ± {difference.half_width:.1f}"


def verdict(more: dict[str, Scores]) -> str:
    """Say which ingredients have been shown to be worth something, and which have not."""
    ours = {what: m for what, m in more.items() if "handwriting" not in what}
    useful = [what for what, m in ours.items() if m.mean > m.half_width]
    harmful = [what for what, m in ours.items() if -m.mean > m.half_width]
    rest = [what for what in ours if what not in useful + harmful]
    found = f"**What is worth something is {listed(useful)}.** For {listed(rest)} this has not"
    found += " been shown: at this length they may be worth nothing, or some tenths of a point."
    if harmful:
        found += f" Without {listed(harmful)} fewer were wrong."
    return textwrap.fill(found, 100, break_on_hyphens=False)


def listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def main() -> None:
    use_style()
    _, held_out = handwriting()
    pixels = {}
    for name, recipe in {"": Recipe(cropped=False), ", drawings cut out": Recipe()}.items():
        x, _ = held_out.flatten()
        x = torch.cat([seen(part, recipe) for part in torch.split(x, 500)])
        data = replace(held_out, images=x.view(*held_out.images.shape[:2], *x.shape[1:]))
        tasks = ImageTasks(data, WAYS, 1, 1, within_groups=True)
        found = evaluate(None, nearest_pixel, tasks, episodes=EPISODES, generator=seeded(2))
        pixels[f"nearest pixel{name}"] = per_cent(found)
    wrong = {name: stored(name, f"{WAYS} ways, one alphabet") for name in ENTRIES}
    for name in ENTRIES:
        draw(name, held_out)
    rows = PUBLISHED | pixels
    rows |= {f"here, trained on {TRAINED_ON[name]}": f"**{wrong[name]}**" for name in ENTRIES}
    text = TEXT.format(
        rows="\n".join(f"| {name} | {value} |" for name, value in rows.items()),
        alphabets=by_alphabet(held_out),
        ingredients=ingredients(),
        chosen_on=", ".join(name.replace("_", " ").partition("(")[0].strip() for name in CHOSEN_ON),
        episodes=EPISODES,
        ways=WAYS,
        trials=400,
        trained_handwriting=TRAINED_ON["handwriting"],
        wrong_handwriting=wrong["handwriting"],
        wrong_glyphs=wrong["glyphs"],
        five_handwriting=right("handwriting"),
        five_glyphs=right("glyphs"),
        parameters=sum(p.numel() for p in load("handwriting").parameters()),
        size=Recipe().size,
        turns=len(TURNS),
        scales=len(SCALES),
        views=len(TURNS) * len(SCALES),
        shown=SHOWN,
        alt_handwriting=ALT.format(what="handwriting"),
        alt_glyphs=ALT.format(what="glyphs"),
    )
    write_atomically(HERE / "omniglot_challenge.md", text.encode())


if __name__ == "__main__":
    main()

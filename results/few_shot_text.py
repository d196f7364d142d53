"""The long run behind the chapter on texts: the methods of the course, and counting n-grams.

    python results/few_shot_text.py [--draws 0 1 2] [--only NAME ...] [--to FILE]

Names of languages, countries and currencies, from CLDR: which of five languages is this name in?
49 languages to train on, 13 to choose settings on, 25 to test on (``text.languages``). Names of
more than LONGEST characters are left out, for all methods.

1. *Episodes.* Five languages, 1, 5 or 20 names of each to learn from and QUERIES to be judged on.
   The episodes are drawn once: each method and each seed answers the same ones. EPISODES of them;
   the costly methods, which take gradient steps on a whole transformer in each, answer only the
   first COSTLY.
2. *Counting.* Character n-grams, hashed, so that there is no vocabulary, and brought to length one;
   with ``idf`` weighed by how rare they are among the training languages. *centroid* takes the
   nearest mean by the angle, *logistic* fits a logistic regression on what *centroid* chose, a gift
   to it. Nothing is random in them, so there is one run.
3. *Networks.* A transformer of two layers and width WIDTH, on the characters of the training
   languages. *scratch* starts at random weights in each episode. *probe* and *LoRA* begin with a
   network that tells the training languages apart, *prototypes*, *MAML* and *Proto-MAML* learn on
   episodes of five shots, and one network answers all three numbers of shots. *byte pairs* are
   prototypes on MERGES byte pairs instead. MAML takes one inner step in training, with the exact
   meta-gradient. Each training sees TEXTS names, with Adam and a step size that falls to zero.
   Three seeds (weights and training), but for *scratch*, which has a start of its own in each
   episode.
4. *Tuning.* Each method has four settings, of which the one with the highest mean accuracy over the
   three numbers of shots is taken: seed 100, TUNING_EPISODES episodes of the validation languages,
   networks trained with half of the names. The test languages are looked at once, for that setting.
   TEXTS and the step sizes that have no choice were set after a look at the validation languages;
   COSTLY was lowered from 150, and LONGER from 3, for time, before any test language was looked at.
   All networks were on byte pairs at first. When a control showed that characters do better, also
   on validation languages, they were tuned and run again on characters.
5. *Controls.* The centroid without idf (added when its first results were known); prototypes that
   see LONGER times as many names (one seed); and two leaks: byte pairs, and idf weights, learned on
   the test languages too.

What is kept are the numbers of right answers, of 5 * QUERIES, episode by episode.

About half an hour of one core.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.preprocessing import normalize
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from metalearn_lite.judging.baselines import scratch_learn
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser
from metalearn_lite.maml import maml_loss, maml_predict, proto_maml_loss, proto_maml_predict
from metalearn_lite.models import Network
from metalearn_lite.prototypes import logistic_head, prototype_logits, prototype_loss, prototypes
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode
from metalearn_lite.text import (
    TextClasses,
    TextTasks,
    Tokens,
    byte_pairs,
    characters,
    languages,
    transformer,
)
from metalearn_lite.training import meta_train
from metalearn_lite.transfer import features, fine_tune, linear_probe, pretrain
from metalearn_lite.transfer.adapters import lora

WAYS, SHOTS, QUERIES = 5, (1, 5, 20), 10
EPISODES, COSTLY, TUNING_EPISODES = 1000, 100, 40
SEEDS, TUNING_SEED = (0, 1, 2), 100
LONGEST, MERGES, WIDTH = 20, 500, 48
TEXTS, MINIBATCH, LONGER = 80_000, 128, 2
META_RATE, RATE = 3e-3, 3e-3
SCRATCH_STEPS, LORA_STEPS, RANK = 10, 10, 4

Setting = Mapping[str, Any]
Task = tuple[Tensor, Tensor]  # rows of the support set, and of the queries
Answer = Callable[[int, Task], Tensor]  # logits, of the number of an episode and the episode
LABELS = torch.arange(WAYS).repeat_interleave(QUERIES)


@cache
def data() -> tuple[TextClasses, TextClasses, TextClasses]:
    """Return the languages to train, to choose settings and to test on."""
    found = languages()
    short = tuple(tuple(t for t in own if len(t) <= LONGEST) for own in found.texts)
    return replace(found, texts=short).split_groups()  # type: ignore[return-value]


def together(*parts: TextClasses) -> TextClasses:
    """Return several parts as one."""
    names = tuple(name for part in parts for name in part.class_names)
    return TextClasses(tuple(own for part in parts for own in part.texts), names, names)


def draw(classes: TextClasses, shots: int, count: int) -> list[Task]:
    """Draw episodes as numbers of texts, always the same ones."""
    generator, sizes = seeded(1000 + shots), torch.tensor(classes.sizes)
    first, drawn = sizes.cumsum(0) - sizes, []
    for _ in range(count):
        five = torch.randperm(len(sizes), generator=generator)[:WAYS]
        rows = [
            first[c] + torch.randperm(int(sizes[c]), generator=generator)[: shots + QUERIES]
            for c in five
        ]
        drawn.append((torch.cat([r[:shots] for r in rows]), torch.cat([r[shots:] for r in rows])))
    return drawn


def support_labels(rows: Tensor) -> Tensor:
    return torch.arange(WAYS).repeat_interleave(len(rows) // WAYS)


# Counting


def ngrams(texts: list[str], longest: int, idf_of: list[str] | None) -> Any:
    """Count the n-grams of each word, by the rule that ``idf_of`` gives if there is one."""
    count = HashingVectorizer(
        analyzer="char_wb", ngram_range=(1, longest), norm=None, alternate_sign=False
    )
    rows = count.transform(texts)
    if idf_of is not None:
        rows = TfidfTransformer(norm=None).fit(count.transform(idf_of)).transform(rows)
    return normalize(rows)


def counted(classes: TextClasses, setting: Setting, *leaked: TextClasses) -> Any:
    train, _, _ = data()
    rare = together(train, *leaked).flatten()[0] if setting["idf"] else None
    return ngrams(classes.flatten()[0], setting["n"], rare)


def centroid(classes: TextClasses, seed: int, setting: Setting, *leaked: TextClasses) -> Answer:
    """Take the class whose mean has the smallest angle with the query."""
    z = counted(classes, setting, *leaked)

    def answer(_: int, task: Task) -> Tensor:
        support, query = (z[rows.numpy()] for rows in task)
        similar = torch.from_numpy((query @ support.T).toarray())
        inner = torch.from_numpy((support @ support.T).toarray())
        mean = similar.reshape(len(similar), WAYS, -1).mean(2)
        shots = len(inner) // WAYS
        length = inner.reshape(WAYS, shots, WAYS, shots).mean((1, 3)).diagonal().sqrt()
        return mean / length

    return answer


def logistic(classes: TextClasses, seed: int, setting: Setting) -> Answer:
    """Fit a logistic regression in the span of the support set, where its optimum lies."""
    z = counted(classes, setting)

    def answer(_: int, task: Task) -> Tensor:
        support, query = (z[rows.numpy()] for rows in task)
        values, vectors = torch.linalg.eigh(torch.from_numpy((support @ support.T).toarray()))
        kept = values > 1e-9
        axes = vectors[:, kept] / values[kept].sqrt()
        within, asked = (
            torch.from_numpy((a @ support.T).toarray()) @ axes for a in (support, query)
        )
        weight, bias = logistic_head(within, support_labels(task[0]), l2=setting["l2"])
        logits: Tensor = asked @ weight.T + bias
        return logits

    return answer


# Networks


@cache
def tokens_of(kind: str) -> Tokens:
    train, _, test = data()
    if kind == "characters":
        return characters(train)
    return byte_pairs(together(train, test) if kind == "leaked" else train, merges=MERGES)


def network(tokens: Tokens, outputs: int, seed: int) -> Network:
    return transformer(len(tokens), outputs, width=WIDTH, generator=seeded(seed))


def pretrained(seed: int, texts: int) -> Network:
    """Train to tell the training languages apart."""
    train, tokens = data()[0], tokens_of("characters")
    names, y = train.flatten()
    return pretrain(
        network(tokens, len(train), seed),
        tokens.encode(names),
        y,
        steps=texts // MINIBATCH,
        generator=seeded(seed + 1),
        minibatch=MINIBATCH,
        lr=RATE,
    )


def meta_trained(
    objective: Callable[..., Tensor],
    seed: int,
    texts: int,
    *,
    ways: int = WAYS,
    lr: float = META_RATE,
    kind: str = "characters",
) -> Network:
    """Train on episodes of the training languages, with five shots and five queries a class."""
    tokens = tokens_of(kind)
    model = network(tokens, ways, seed)
    each = 200  # texts in a step: 4 tasks of 5 ways, or 2 of 10
    meta_train(
        model,
        objective,
        TextTasks(data()[0], ways, 5, 5, tokens=tokens),
        iterations=texts // each,
        batch=each // (10 * ways),
        generator=seeded(seed + 1),
        optimizer=torch.optim.Adam(model.parameters(), lr=lr),
        schedule=lambda done: 1 - done,
        before_step=lambda m: clip_grad_norm_(m.parameters(), 1.0),
        progress=False,
    )
    return model


@cache
def trained(name: str, seed: int, texts: int, **setting: Any) -> Network:
    """Train once for all settings that differ in the adaptation alone."""
    if name in ("probe", "LoRA"):
        return pretrained(seed, texts)
    if name == "prototypes":
        return meta_trained(prototype_loss, seed, texts, **setting)
    loss = {"MAML": maml_loss, "Proto-MAML": proto_maml_loss}[name]
    return meta_trained(partial(loss, **setting, inner_steps=1), seed, texts)


def seen(seed: int) -> int:
    return TEXTS // 2 if seed == TUNING_SEED else TEXTS


def episodes_of(classes: TextClasses, kind: str = "characters") -> Callable[[Task], Episode]:
    """Return what makes an episode of numbers of texts."""
    x = tokens_of(kind).encode(classes.flatten()[0])

    def make(task: Task) -> Episode:
        length = int((x[torch.cat(task)] != 0).sum(1).max())
        support, query = (x[rows, :length] for rows in task)
        return Episode(support, support_labels(task[0]), query, LABELS)

    return make


def nearest(model: Network, classes: TextClasses, kind: str = "characters") -> Answer:
    """Answer by prototypes; the features are computed once."""
    z = features(model, tokens_of(kind).encode(classes.flatten()[0]))

    def answer(_: int, task: Task) -> Tensor:
        return prototype_logits(z[task[1]], prototypes(z[task[0]], support_labels(task[0])))

    return answer


def by_prototypes(kind: str, classes: TextClasses, seed: int, setting: Setting) -> Answer:
    return nearest(trained("prototypes", seed, seen(seed), kind=kind, **setting), classes, kind)


def probe(classes: TextClasses, seed: int, setting: Setting) -> Answer:
    z = features(
        trained("probe", seed, seen(seed)), tokens_of("characters").encode(classes.flatten()[0])
    )

    def answer(_: int, task: Task) -> Tensor:
        weight, bias = logistic_head(z[task[0]], support_labels(task[0]), l2=setting["l2"])
        return z[task[1]] @ weight.T + bias

    return answer


def adapters(classes: TextClasses, seed: int, setting: Setting) -> Answer:
    """Fit the head, then train it with an adapter of rank RANK at each linear layer."""
    model, make = trained("probe", seed, seen(seed)), episodes_of(classes)

    def answer(number: int, task: Task) -> Tensor:
        drawn = make(task)
        probed = linear_probe(model, drawn.support_x, drawn.support_y, l2=setting["l2"])
        low = lora(probed, rank=RANK, generator=seeded(number))
        tuned = fine_tune(low, drawn.support_x, drawn.support_y, steps=LORA_STEPS, lr=setting["lr"])
        with torch.no_grad():
            return tuned(drawn.query_x)  # type: ignore[no-any-return]

    return answer


def scratch(classes: TextClasses, seed: int, setting: Setting) -> Answer:
    make = episodes_of(classes)

    def answer(number: int, task: Task) -> Tensor:
        drawn = make(task)
        start = network(tokens_of("characters"), WAYS, number)
        learned = scratch_learn(start, drawn, steps=SCRATCH_STEPS, lr=setting["lr"])
        with torch.no_grad():
            return learned(drawn.query_x)  # type: ignore[no-any-return]

    return answer


def by_maml(name: str, classes: TextClasses, seed: int, setting: Setting) -> Answer:
    model = trained(name, seed, seen(seed), inner_lr=setting["inner_lr"])
    predict, make = (maml_predict if name == "MAML" else proto_maml_predict), episodes_of(classes)
    return lambda _, task: predict(model, make(task), **setting)


@dataclass(frozen=True)
class Method:
    """How a method learns, the settings that it may choose from, and what it answers.

    Attributes:
        learn: of languages, a seed and a setting, what answers an episode.
        settings: four of them.
        episodes: how many it answers.
        seeds: how many runs it has.
    """

    learn: Callable[[TextClasses, int, Setting], Answer]
    settings: tuple[Setting, ...]
    episodes: int = EPISODES
    seeds: tuple[int, ...] = SEEDS


INNER = tuple({"inner_lr": lr, "inner_steps": k} for lr in (0.1, 0.4) for k in (1, 5))
TRAINED = tuple({"ways": w, "lr": lr} for w in (5, 10) for lr in (3e-3, 1e-2))
METHODS = {
    "centroid": Method(
        centroid, tuple({"n": n, "idf": idf} for n in (3, 5) for idf in (False, True)), seeds=(0,)
    ),
    "logistic": Method(logistic, tuple({"l2": l2} for l2 in (1e-4, 1e-3, 1e-2, 1e-1)), seeds=(0,)),
    "scratch": Method(scratch, tuple({"lr": lr} for lr in (0.03, 0.1, 0.3, 1.0)), COSTLY, (0,)),
    "probe": Method(probe, tuple({"l2": l2} for l2 in (1e-3, 1e-2, 1e-1, 1.0))),
    "LoRA": Method(adapters, tuple({"lr": lr} for lr in (0.003, 0.01, 0.03, 0.1)), COSTLY),
    "prototypes": Method(partial(by_prototypes, "characters"), TRAINED),
    "byte pairs": Method(partial(by_prototypes, "byte pairs"), TRAINED),
    "MAML": Method(partial(by_maml, "MAML"), INNER, COSTLY),
    "Proto-MAML": Method(partial(by_maml, "Proto-MAML"), INNER, COSTLY),
}
BEGINS_WITH = {"logistic": "centroid", "LoRA": "probe"}  # whose setting is taken over
CONTROLS = {
    "without idf": (0,),
    "leaked idf": (0,),
    "leaked pairs": SEEDS,
    "longer": (0,),
}


def right_answers(answer: Answer, classes: TextClasses, count: int) -> dict[str, str]:
    """Count the right answers in each episode, for each number of shots."""
    found = {}
    for shots in SHOTS:
        tasks = enumerate(draw(classes, shots, count))
        right = [int((answer(i, task).argmax(1) == LABELS).sum()) for i, task in tasks]
        found[str(shots)] = " ".join(map(str, right))
    return found


def accuracy(found: Mapping[str, str]) -> float:
    """Return the mean over shots and episodes, in per cent."""
    counts = [int(n) for right in found.values() for n in right.split()]
    return 100 * sum(counts) / (len(counts) * len(LABELS))


def tune(name: str, given: Setting) -> dict[str, Any]:
    """Choose a setting on the validation languages."""
    method, validation, tried = METHODS[name], data()[1], []
    for setting in method.settings:
        answer = method.learn(validation, TUNING_SEED, {**given, **setting})
        tried.append(accuracy(right_answers(answer, validation, TUNING_EPISODES)))
    best = method.settings[tried.index(max(tried))]
    return {"tried": tried, "setting": {**given, **best}}


def control(name: str, seed: int, settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Score what differs from a method in one thing."""
    _, _, test = data()
    if name == "leaked idf":
        found = {}
        for part, leaked in (("clean", ()), ("leaked", (test,))):
            answer = centroid(test, seed, {**settings["centroid"], "idf": True}, *leaked)
            found[part] = right_answers(answer, test, EPISODES)
        return found
    if name == "without idf":
        answer = centroid(test, seed, {**settings["centroid"], "idf": False})
        return right_answers(answer, test, EPISODES)
    if name == "leaked pairs":
        model = trained("prototypes", seed, TEXTS, kind="leaked", **settings["byte pairs"])
        return right_answers(nearest(model, test, "leaked"), test, EPISODES)
    model = trained("prototypes", seed, LONGER * TEXTS, **settings["prototypes"])
    return right_answers(nearest(model, test), test, EPISODES)


def pieces(seeds: Iterable[int], names: Iterable[str]) -> list[str]:
    """Name the work: the tuning, then the methods, one seed after another, then the controls."""
    names = list(names)
    tuning = [f"tune/{name}" for name in METHODS if name in names]
    which = {name: method.seeds for name, method in METHODS.items()}
    runs = [
        f"{name}/{seed}"
        for group in (which, CONTROLS)
        for seed in seeds
        for name, own in group.items()
        if name in names and seed in own
    ]
    return tuning + runs


def measure(piece: str, ledger: Mapping[str, Any]) -> dict[str, Any]:
    """Do one piece of the work; ``ledger`` holds what was chosen."""
    first, second = piece.split("/")
    tuned = {p[5:]: d["setting"] for p, d in ledger["draws"].items() if p.startswith("tune/")}
    if first == "tune":
        return tune(second, tuned[BEGINS_WITH[second]] if second in BEGINS_WITH else {})
    if first in CONTROLS:
        return control(first, int(second), tuned)
    method, test = METHODS[first], data()[2]
    return right_answers(method.learn(test, int(second), tuned[first]), test, method.episodes)


def new_ledger() -> dict[str, Any]:
    settings = {"ways": WAYS, "shots": list(SHOTS), "queries": QUERIES, "episodes": EPISODES}
    settings |= {
        "costly": COSTLY,
        "texts": TEXTS,
        "longer": LONGER,
        "merges": MERGES,
        "width": WIDTH,
    }
    settings |= {"scratch steps": SCRATCH_STEPS, "lora steps": LORA_STEPS, "rank": RANK}
    return how_made("python results/few_shot_text.py") | {"settings": settings}


def main() -> None:
    parser = recipe_parser(__file__, __doc__, SEEDS)
    names = [*METHODS, *CONTROLS]
    parser.add_argument("--only", nargs="+", default=names, choices=names)
    options = parser.parse_args()
    torch.set_num_threads(1)
    fill_ledger(options.to, pieces(options.draws, options.only), new_ledger, measure)


if __name__ == "__main__":
    main()

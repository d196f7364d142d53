"""The data sets: rendered glyphs, Omniglot, real digits.

All are ``ClassImages``: ``(classes, examples, 1, 28, 28)``, ink 1 on ground 0. What is slow to
make is cached, see ``cache``.
"""

import unicodedata
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import torch
import torch.nn.functional as F

from metalearn_lite.arguments import check_counts
from metalearn_lite.datasets import lookalikes, omniglot_archive, rendering, thinning
from metalearn_lite.datasets.cache import cached, code_of
from metalearn_lite.datasets.class_images import ClassImages

DRAWN = 105  # pixels of a side of Omniglot's drawings


def glyphs(
    *, seed: int = 0, examples: int = 20, deduplicate: bool = True, size: int = rendering.SIDE
) -> ClassImages:
    """Make the course's own characters, from the fonts that come inside matplotlib.

    Letters of many scripts, drawn in several font families and warped as if by hand.
    ``rendering.render_glyphs`` says how; the result is cached.

    Args:
        seed: draws the warps; the characters are the same for each seed.
        examples: images of each character.
        deduplicate: leave out characters that look like one of another script, so that
            no shape is on both sides of a split by script. Switch it off only to see why.
        size: pixels of a side.

    Returns:
        Characters by script, with the split ``rendering.GLYPH_SPLIT`` and the factors
        that ``rendering.RenderedGlyphs`` names.

    Raises:
        ValueError: for less than one example or pixel, or a negative seed.
    """
    code = [code_of(module) for module in (rendering, thinning, lookalikes)]
    version = (code, matplotlib.__version__, seed, examples, deduplicate, size)
    render = partial(rendering.render_glyphs, seed=seed, examples=examples, size=size)
    data = cached("glyphs", version, lambda: vars(render(deduplicate=deduplicate)))
    return ClassImages(
        data["images"].unsqueeze(2).float() / 255,
        tuple(data["class_names"]),
        tuple(data["groups"]),
        rendering.GLYPH_SPLIT,
        data["factors"],
        {name: tuple(names) for name, names in data["factor_names"].items()},
    )


def printed_letters() -> ClassImages:
    """Print letters in the twelve faces of the fonts that come inside matplotlib.

    The classes are those characters of ``glyphs`` that all faces have. They are not warped: the
    examples of a letter differ as typefaces do, in serifs, weight, slant and width.

    Returns:
        Letters by script, ``(letters, 12, 1, 28, 28)``, with the split of the glyphs by script and
        the factor ``face``.
    """
    faces, known = tuple(rendering.FACES), set(glyphs().class_names)
    letters = [c for c in rendering.letters(*faces) if unicodedata.name(c) in known]
    images = [rendering.plain_bitmaps(letters, face) for face in faces]
    groups = tuple(rendering.script_of(c) for c in letters)
    split = {
        part: tuple(script for script in scripts if script in groups)
        for part, scripts in rendering.GLYPH_SPLIT.items()
    }
    return ClassImages(
        torch.stack(images, dim=1).unsqueeze(2),
        tuple(unicodedata.name(c) for c in letters),
        groups,
        split,
        {"face": torch.arange(len(faces)).repeat(len(letters), 1)},
        {"face": faces},
    )


def omniglot(
    root: Path | str,
    download: bool = False,
    *,
    evaluation: bool = False,
    rotations: bool = False,
    complete: bool = True,
    size: int = 28,
) -> ClassImages:
    """Read Omniglot, characters of 50 alphabets drawn by 20 people each.

    Args:
        root: a folder that holds ``images_background.zip``, or the tree
            ``images_background/<alphabet>/<character>/<drawing>.png``, or torchvision's
            ``omniglot-py`` folder with either. A zip is read without unpacking it.
        download: if nothing is there, fetch it through ``torchvision.datasets.Omniglot``,
            which checks the archive's md5. Needs a network.
        evaluation: read the evaluation set (20 alphabets) in place of the background set
            (30 alphabets).
        rotations: add each character turned by 90, 180 and 270 degrees as new classes, as
            proposed by Santoro et al. (2016) and done by Finn et al. (2017).
        complete: require all characters of the set, so that a half-copied folder does not
            pass unseen.
        size: pixels of a side, at most ``DRAWN``.

    Returns:
        Characters by alphabet, averaged down from 105 x 105 to ``size`` x ``size`` pixels. The
        background set's split has 25 alphabets to train on and, every sixth of the sorted
        names, 5 for validation.

    Raises:
        FileNotFoundError: if nothing is there and ``download`` is off.
        ValueError: if the archive is damaged, foreign or incomplete, or for such a ``size``.

    Reference:
        Lake, Salakhutdinov and Tenenbaum (2015), "Human-level concept learning through
        probabilistic program induction".
    """
    check_counts(size=size)
    if size > DRAWN:
        raise ValueError(f"size is {size}: expected {DRAWN} or less, the pixels of a drawing")
    part: omniglot_archive.Part = "images_evaluation" if evaluation else "images_background"
    source = omniglot_archive.find(Path(root).expanduser(), part, download=download)
    drawings = omniglot_archive.list_drawings(source, part, complete=complete)

    def make() -> dict[str, Any]:
        return {"images": omniglot_archive.read_drawings(source, drawings.files, size=size)}

    version = (code_of(omniglot_archive), drawings, *((size,) if size != 28 else ()))
    flat = cached(f"omniglot-{part}", version, make)["images"]
    images = flat.unflatten(0, (len(drawings.characters), -1))
    names = tuple(alphabet for alphabet, _ in drawings.characters)
    alphabets = sorted(set(names))
    held_out = tuple(alphabets[5::6])
    split = {"train": tuple(a for a in alphabets if a not in held_out), "validation": held_out}
    data = ClassImages(
        images.unsqueeze(2).float() / 255,
        tuple(f"{alphabet} {character}" for alphabet, character in drawings.characters),
        names,
        {} if evaluation or not held_out else split,
    )
    return data.rotated() if rotations else data


def digits() -> ClassImages:
    """Read scikit-learn's handwritten digits, a second real domain that needs no download.

    The 1,797 images of 8 x 8 pixels (Alpaydin and Kaynak, 1998) are enlarged to 24 x 24
    by bicubic interpolation and set in the middle of 28 x 28. Each class keeps as many
    images as the rarest has, the first 174 in the order of the file.

    Returns:
        10 classes x 174 examples, all of one group.
    """
    from sklearn.datasets import load_digits  # slow to import, and needed only here

    bunch = load_digits()
    small = torch.as_tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    large = F.interpolate(small, size=(24, 24), mode="bicubic", align_corners=False)
    images = F.pad(large.clamp(0, 1), (2, 2, 2, 2))
    labels = torch.as_tensor(bunch.target)
    count = int(labels.bincount().min())
    by_class = [images[labels == digit][:count] for digit in range(10)]
    return ClassImages(torch.stack(by_class), tuple("0123456789"), ("digits",) * 10)

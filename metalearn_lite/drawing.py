"""Draw without replacement: classes, examples, and classes that belong together."""

from collections.abc import Sequence

import torch
from torch import Tensor

from metalearn_lite.arguments import check_kind, check_shapes


def random_subsets(
    shape: tuple[int, ...], population: int | Tensor, size: int, generator: torch.Generator
) -> Tensor:
    """Draw ``size`` different numbers below ``population``, in random order, ``shape`` times.

    A population for each time, as a tensor of this shape, must hold ``size`` or more.
    """
    most = population if isinstance(population, int) else int(population.max())
    keys = torch.rand((*shape, most), generator=generator, device=generator.device)
    if isinstance(population, Tensor):  # what is not there comes last
        keys[torch.arange(most, device=keys.device) >= population.to(keys.device).unsqueeze(-1)] = 2
    return keys.argsort(dim=-1)[..., :size]


def pool_of(images: object, ways: int | None, shots: int, queries: int) -> Tensor:
    """Return the images to draw from, ``(classes, examples, ...)``.

    Raises:
        ValueError: if they are no images, or too few; any number of classes will do for None. A
            class that has too few is named.
    """
    pool = images if isinstance(images, Tensor) else getattr(images, "images", None)
    check_kind(Tensor, images=pool)
    assert isinstance(pool, Tensor)
    check_shapes(pool.ndim >= 3, "(classes, examples, ...)", images=pool)
    classes, examples = pool.shape[:2]
    if ways is not None and classes < ways:
        raise ValueError(
            f"{ways} ways need {ways} classes, but the data holds {classes}: "
            "ask for fewer ways or give more classes"
        )
    if examples < shots + queries:
        raise ValueError(
            f"{shots} shots and {queries} queries need {shots + queries} examples of each "
            f"class, but the data holds {examples}: ask for fewer or give more"
        )
    sizes = zip(getattr(images, "class_names", ()), getattr(images, "counts", ()), strict=False)
    few = [f"{name} has {size}" for name, size in sizes if size < shots + queries]
    if few:
        raise ValueError(
            f"{shots} shots and {queries} queries need {shots + queries} examples of each class, "
            f"but {', '.join(few)}: with_at_least({shots + queries}) leaves these out; "
            "or ask for fewer"
        )
    return pool


def groups_of(images: object) -> Sequence[str]:
    """Return the group of each class; raise a ``ValueError`` if nothing says it."""
    groups = getattr(images, "groups", None)
    if groups is None:
        raise ValueError(
            f"images are a {type(images).__name__}, which says nothing of groups: expected "
            "ClassImages, for tasks within a group"
        )
    return groups  # type: ignore[no-any-return]


class Groups:
    """Which classes belong together, to draw the classes of a task from one group.

    Args:
        groups: the group of each class, such as its alphabet.

    Raises:
        ValueError: if a group has one class only, with which there is nothing to tell apart.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        members: dict[str, list[int]] = {}
        for number, group in enumerate(groups):
            members.setdefault(group, []).append(number)
        alone = sorted(group for group, own in members.items() if len(own) < 2)
        if alone:
            raise ValueError(
                f"groups {alone} have one class each: expected two or more, for tasks within a "
                "group; leave them out with select() or split_groups()"
            )
        self.members = [torch.tensor(members[group]) for group in sorted(members)]

    def draw(self, tasks: int, ways: int, generator: torch.Generator) -> Tensor:
        """Draw a group for each task, all alike often, and classes of it in random order.

        Returns:
            Numbers of classes, ``(tasks, ways)``; fewer ways if a group that was drawn has fewer.
        """
        device = generator.device
        drawn = torch.randint(len(self.members), (tasks,), generator=generator, device=device)
        own = [self.members[group].to(device) for group in drawn.tolist()]
        ways = min(ways, *map(len, own))
        return torch.stack(
            [classes[random_subsets((), len(classes), ways, generator)] for classes in own]
        )

"""Few-shot classification of texts."""

from types import SimpleNamespace

import torch
from torch.nn.utils.rnn import pad_sequence

from metalearn_lite.arguments import check_kind
from metalearn_lite.tasks import Episode, ImageTasks
from metalearn_lite.text.text_classes import TextClasses
from metalearn_lite.text.tokens import PADDING, Tokens


class TextTasks(ImageTasks):
    """Few-shot classification: which of ``ways`` classes is this text?

    Episodes are drawn as ``ImageTasks`` draws them. Their inputs are tokens, int64 with 0 after the
    end of a text, as long as the longest text of the draw needs: a network sees by the 0 what is
    padding, so that no mask has to go with them.

    Args:
        classes: the texts by class.
        ways: number of classes in a task.
        shots: labelled texts of each class to learn from.
        queries: texts of each class to be judged on.
        tokens: what texts are made of, learned on training classes; bytes if nothing is said.
        within_groups: as in ``ImageTasks``.
        device: where the episodes are made.

    Raises:
        ValueError: if the data holds too few classes or too few texts of each.
    """

    def __init__(
        self,
        classes: TextClasses,
        ways: int,
        shots: int,
        queries: int,
        *,
        tokens: Tokens | None = None,
        within_groups: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        check_kind(TextClasses, classes=classes)
        rows = (tokens or Tokens()).encode(classes.flatten()[0]).to(device)
        padded = pad_sequence([*torch.split(rows, [*classes.sizes])], batch_first=True)  # with 0
        pool = SimpleNamespace(**vars(classes), images=padded, counts=classes.sizes)
        super().__init__(pool, ways, shots, queries, within_groups=within_groups)

    def sample(self, generator: torch.Generator, batch: int | None = None) -> Episode:
        """Draw one episode, or ``batch`` of them in one go.

        Args:
            generator: the source of all randomness.
            batch: number of tasks ``T``; None draws a single, unbatched episode.

        Returns:
            ``support_x (ways * shots, length)``, ``query_x (ways * queries, length)`` and int64
            labels, all with a leading ``T`` if ``batch`` is given.
        """
        drawn = super().sample(generator, batch)
        parts = drawn.support_x, drawn.query_x
        length = max(int((x != PADDING).sum(dim=-1).max()) for x in parts)
        support_x, query_x = (x[..., :length] for x in parts)
        return Episode(support_x, drawn.support_y, query_x, drawn.query_y)

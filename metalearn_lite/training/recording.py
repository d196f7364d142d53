"""What a GPU does for one episode, recorded once and played back for the next.

A meta-gradient of a small network is a thousand small kernels, and starting them from Python takes
longer than running them. A CUDA graph starts them all at once.
"""

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metalearn_lite.computed import Computed
from metalearn_lite.tasks import Episode
from metalearn_lite.training.loop import Objective

WARM_UPS = 3  # runs before the recording, in which libraries choose their kernels


@dataclass(frozen=True)
class Recording:
    """The kernels of one objective, for one model and one shape of episodes.

    Attributes:
        model: what the kernels compute with: a copy of the model whose tensors lie where those of
            the model lie, so that they follow its training.
        episode: the place from which the kernels read.
        graph: the kernels.
        loss: the place to which they write the loss.
        gradients: likewise, of each parameter that is trained.
    """

    model: nn.Module
    episode: Episode
    graph: torch.cuda.CUDAGraph
    loss: Tensor
    gradients: tuple[Tensor, ...]

    def play(self, episode: Episode, params: Sequence[Tensor]) -> Tensor:
        """Compute the loss of another episode, with its gradient."""
        for place, given in zip(_tensors(self.episode), _tensors(episode), strict=True):
            place.copy_(given)
        self.graph.replay()
        return Computed.apply(self.loss, self.gradients, *params)  # type: ignore[no-any-return, no-untyped-call]


def recorded(objective: Objective) -> Objective:
    """Return the same objective, recorded at its first episode where the model is on a GPU.

    Loss and gradient are those of ``objective``, which is not called again until the model, the
    shape of the episodes or what is trained changes. So it may depend on nothing else than model
    and episode: what it draws, counts or prints in Python it does once. Labels out of range are
    found by the device only. Elsewhere than on a GPU it is ``objective`` itself.

    Args:
        objective: ``objective(model, episode)`` gives a scalar, as for ``meta_train``. It must not
            wait for the device (``.item()``, a condition on a tensor's value), as those of MAML and
            Reptile's do not where ``stacked_network`` knows the layers; prototypes count examples.

    Returns:
        An objective, for ``meta_train(model, recorded(objective), ...)``. Go backward before it is
        called again: the gradients of one call are overwritten by the next.

    Raises:
        ValueError: on a GPU, if the objective waits for the device.

    Reference:
        Paszke et al. (2019); CUDA graphs in PyTorch's notes on CUDA semantics.
    """
    recordings: dict[Hashable, Recording] = {}

    def play(model: nn.Module, episode: Episode) -> Tensor:
        params = [p for p in model.parameters() if p.requires_grad]
        tensors = _tensors(episode)
        if not torch.is_grad_enabled() or not all(t.is_cuda for t in (*params, *tensors)):
            return objective(model, episode)
        shapes = [(t.shape, t.dtype, t.device) for t in tensors]
        places = [p.data_ptr() for p in params]
        key = (id(model), model.training, episode.batch, *shapes, *places)
        if key not in recordings:
            recordings[key] = _record(objective, model, episode)
        return recordings[key].play(episode, params)

    return play


def _record(objective: Objective, model: nn.Module, episode: Episode) -> Recording:
    # A copy, because a loss that someone still holds ties the parameters to another stream.
    shadow = _shadow(model)
    params = [p for p in shadow.parameters() if p.requires_grad]
    copied = Episode(*(t.clone() for t in _tensors(episode)), is_batch=episode.batch is not None)

    def run() -> tuple[Tensor, tuple[Tensor, ...]]:
        loss = objective(shadow, copied)
        return loss.detach(), torch.autograd.grad(loss, params, materialize_grads=True)

    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            loss, gradients = run()
    except RuntimeError as error:
        raise ValueError(
            "the objective cannot be recorded: expected one that never waits for the GPU (no "
            ".item(), no condition on the values of a tensor); give it to meta_train as it is, "
            "without recorded()"
        ) from error
    return Recording(shadow, copied, graph, loss, gradients)


def _shadow(model: nn.Module) -> nn.Module:
    """Return a copy of the model whose parameters and buffers lie in the same memory."""
    shadow = copy.deepcopy(model)
    tensors = ((*m.parameters(), *m.buffers()) for m in (shadow, model))
    for mine, theirs in zip(*tensors, strict=True):
        mine.data = theirs.data
    return shadow


def _tensors(episode: Episode) -> tuple[Tensor, ...]:
    return episode.support_x, episode.support_y, episode.query_x, episode.query_y

"""Count what automatic differentiation keeps for the way back."""

from collections import Counter
from collections.abc import Callable

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


def saved_bytes(compute: Callable[[], object]) -> int:
    """Return the most bytes that are kept for a backward pass at any one time.

    What several operations keep in common counts once; so do views of one tensor. Inputs and
    parameters count where an operation keeps them.

    Args:
        compute: called once; what it returns is thrown away.
    """
    holders: Counter[int] = Counter()  # how many operations keep the memory at this address
    held = peak = 0

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal held, peak
            self.tensor = tensor
            memory = tensor.untyped_storage()
            self.address, self.size = memory.data_ptr(), memory.nbytes()
            held += self.size if not holders[self.address] else 0
            holders[self.address] += 1
            peak = max(peak, held)

        def __del__(self) -> None:
            nonlocal held
            holders[self.address] -= 1
            held -= self.size if not holders[self.address] else 0

    with saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        compute()
    return peak

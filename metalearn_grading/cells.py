"""Which cells an answer needs: its own, and those above that define a name it reads."""

import ast
import symtable
from collections.abc import Sequence

from IPython.core.inputtransformer2 import TransformerManager

_jupyter = TransformerManager()  # type: ignore[no-untyped-call]


def names(source: str) -> tuple[set[str], set[str]]:
    """Return the global names that a cell reads, in its functions too, and those that it binds.

    A cell that cannot be read as Python reads and binds nothing.
    """
    try:
        text = _jupyter.transform_cell(source)
        ast.parse(text)
        tables = [symtable.symtable(text, "cell", "exec")]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(), set()
    top = tables[0].get_symbols()
    binds = {s.get_name() for s in top if s.is_assigned() or s.is_imported() or s.is_namespace()}
    reads = {s.get_name() for s in top if s.is_referenced()}
    for table in tables:  # grows by the functions in it
        tables += table.get_children()
        found = table.get_symbols()
        reads |= {s.get_name() for s in found if s.is_global() and s.is_referenced()}
        binds |= {s.get_name() for s in found if s.is_declared_global() and s.is_assigned()}
    return reads, binds


def needed(sources: Sequence[str], wanted: Sequence[int], asked: set[str]) -> list[int]:
    """Return the numbers of the cells to run, in order, before these answers can be asked.

    Args:
        sources: the cells above the check.
        wanted: numbers of the cells to run in any case.
        asked: names that will be asked for.
    """
    found = {number: names(source) for number, source in enumerate(sources)}
    chosen, reads = set(wanted), set(asked).union(*(found[n][0] for n in wanted))
    while True:
        more = {n for n, (_, binds) in found.items() if binds & reads} - chosen
        if not more:
            return sorted(chosen)
        chosen |= more
        reads.update(*(found[n][0] for n in more))

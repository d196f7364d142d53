"""Run a notebook so that a cell that hangs or ends the kernel costs itself and no other.

nbgrader interrupts a cell that outlasts its time. A cell can ignore that (``except:`` in a
loop), and a cell can end the kernel (``exit()``, a crash); without more, all cells after it
are lost. Here such a cell is marked as failed and the notebook is run again without it.
"""

from queue import Empty
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbclient.util import run_sync
from nbformat.v4 import new_output
from nbgrader.preprocessors import Execute

STUBBORN = "KernelEnded: this cell did not end, and took no interrupt; it was left out"
PATIENCE = 10  # seconds that an interrupted kernel has to answer


class CellByCell(Execute):
    """Execute all cells; leave out, in further runs, those after which the kernel is lost."""

    def preprocess(self, nb: Any, resources: Any, km: Any = None) -> tuple[Any, Any]:
        """Run the notebook, as often as there are cells that end the kernel and once more."""
        self.fatal: dict[int, str] = {}
        while True:
            known = len(self.fatal)
            try:
                return super().preprocess(nb, resources, km)
            except (DeadKernelError, CellTimeoutError):
                if len(self.fatal) == known:  # it was none of the cells
                    raise

    def preprocess_cell(self, cell: Any, resources: Any, index: int) -> tuple[Any, Any]:
        """Run a cell, or write down why it is not run."""
        if index in self.fatal:
            why = self.fatal[index]
            cell.outputs = [new_output("error", ename="KernelEnded", evalue=why, traceback=[why])]
            return cell, resources
        try:
            cell, resources = super().preprocess_cell(cell, resources, index)
        except DeadKernelError:
            self.fatal[index] = "KernelEnded: this cell ended the kernel; it was left out"
            raise
        except CellTimeoutError:  # interrupted, and still at work
            self.fatal[index] = STUBBORN
            raise
        if _timed_out(cell) and not self._answers():
            self.fatal[index] = STUBBORN
            raise DeadKernelError(STUBBORN)
        return cell, resources

    def _answers(self) -> bool:
        """Say whether the kernel is free again."""
        request = self.kc.kernel_info()
        try:
            while True:
                reply = run_sync(self.kc.get_shell_msg)(timeout=PATIENCE)
                if reply["parent_header"].get("msg_id") == request:
                    return True
        except Empty:
            return False


def _timed_out(cell: Any) -> bool:
    return any(out.get("ename") == "CellTimeoutError" for out in cell.get("outputs", []))

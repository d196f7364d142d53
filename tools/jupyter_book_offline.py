"""Run jupyter-book with kernels that are spoken to through files where the system can.

    python tools/jupyter_book_offline.py build ...

That works with every network interface off, the loopback too, and no other user can listen. The
files lie in the working folder, so it must be the one that the kernels run in.
"""

import os

from jupyter_client.connect import ConnectionFileMixin

if os.name == "posix":
    ConnectionFileMixin.transport.default_value = "ipc"  # before the classes built on it

from jupyter_book.cli.main import main

if __name__ == "__main__":
    main()

"""What quadrat asks of Snakemake itself: which library its jobs import, and how it takes signals."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

FOLDER = str(Path(__file__).resolve().parents[2])


def lend_to_jobs() -> None:
    """Make processes that this one starts import this copy of the library, whatever quadrat is installed.

    Snakemake itself puts a script's folder last on Python's search path.
    """
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != FOLDER]
    os.environ["PYTHONPATH"] = os.pathsep.join([FOLDER, *others])


def handle_in_thread(number: int) -> None:
    """Have the handler of a signal called in a thread of its own.

    Python calls it in the middle of what the main thread does. Snakemake's handler of SIGTERM takes a lock
    that the main thread may hold, and then waits for it for ever.

    Parameters
    ----------
    number : int
        A signal that has a handler of Python's.
    """
    handler: Any = signal.getsignal(number)
    signal.signal(number, lambda *received: threading.Thread(target=handler, args=received).start())

"""Signals: handlers that may be called at any moment."""

import signal
import threading
from typing import Any


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

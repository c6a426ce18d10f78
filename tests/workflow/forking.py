"""Forks of the programs that run tests.

A lock that another thread holds at a fork stays locked in the child, which may wait for it for ever.
"""

import os

# Set before they are imported, these keep numpy (OpenBLAS) and pyarrow (jemalloc) from starting threads.
NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


def fork():
    """Fork as `os.fork` does, or stop the program if it has threads."""
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise SystemExit(f"{threads} threads run at a fork: must be 1; see forking.py")
    return os.fork()

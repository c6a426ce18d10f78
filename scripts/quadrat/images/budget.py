"""Memory budget of a reader: too large a need is refused before memory is allocated."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from quadrat.errors import MemoryBudgetError

MB = 1_000_000
REST_MB = 500  # interpreter, libraries and predictor of a job, beside the reader

_estimates: ContextVar[list[int] | None] = ContextVar("estimates", default=None)


@contextmanager
def estimates() -> Iterator[list[int]]:
    """Collect the estimates of memory that are made within the block, in bytes; the largest is the need."""
    found = [0]
    token = _estimates.set(found)
    try:
        yield found
    finally:
        _estimates.reset(token)


def require_memory(needed_bytes: int, memory_mb: float | None, what: str, remedy: str = "") -> None:
    """Raise an error if more memory is needed than the budget allows.

    Parameters
    ----------
    needed_bytes : int
        Estimate of the memory in bytes.
    memory_mb : float or None
        Budget in megabytes (10**6 bytes); None for no limit.
    what : str
        What needs the memory: the subject of the message.
    remedy : str, optional
        A remedy other than more memory.

    Raises
    ------
    MemoryBudgetError
        If the estimate exceeds the budget.
    """
    if (collected := _estimates.get()) is not None:
        collected.append(needed_bytes)
    if memory_mb is None or needed_bytes <= memory_mb * MB:
        return
    needed_mb = -(-needed_bytes // MB)
    raise MemoryBudgetError(
        f"{what} needs about {needed_mb:,} MB of memory, but the reader may use {memory_mb:,.0f} MB",
        f"give the job more memory: --set-resources predict_image:mem_mb={needed_mb + REST_MB}"
        + (f"; or {remedy}" if remedy else ""),
    )

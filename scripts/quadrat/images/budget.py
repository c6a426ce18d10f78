"""Memory budget of a reader: what does not fit is refused before it is allocated."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from quadrat.errors import MemoryBudgetError

MB = 1_000_000
REST_MB = 500  # interpreter, libraries and predictor of a job, beside the reader

_estimates: ContextVar[list[int] | None] = ContextVar("estimates", default=None)


@contextmanager
def estimates() -> Iterator[list[int]]:
    """Collect the estimates of all that needs memory within the block, in bytes; the largest is the need."""
    found = [0]
    token = _estimates.set(found)
    try:
        yield found
    finally:
        _estimates.reset(token)


def require_memory(needed_bytes: int, memory_mb: float | None, what: str, remedy: str = "") -> None:
    """Refuse what needs more memory than the budget.

    Parameters
    ----------
    needed_bytes : int
        Estimate of the memory in bytes.
    memory_mb : float or None
        Budget in megabytes (10**6 bytes); None for no limit.
    what : str
        What needs the memory: the subject of the message.
    remedy : str, optional
        What else than more memory would help.

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
        f"{what} needs about {needed_mb:,} MB of memory, the reader may use {memory_mb:,.0f} MB",
        f"give the job more memory: --set-resources predict_image:mem_mb={needed_mb + REST_MB}"
        + (f"; or {remedy}" if remedy else ""),
    )

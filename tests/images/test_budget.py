import pytest

from quadrat.errors import MemoryBudgetError
from quadrat.images.budget import require_memory


def test_what_fits_the_memory_passes():
    require_memory(100_000_000, 100, "a strip")


def test_without_a_limit_everything_passes():
    require_memory(10**18, None, "a strip")


def test_what_does_not_fit_is_refused_with_estimate_and_setting():
    with pytest.raises(
        MemoryBudgetError, match=r"^a strip needs about 101 MB of memory, .* 100 MB$"
    ) as error:
        require_memory(100_000_001, 100, "a strip", "cut it")
    assert "mem_mb=" in error.value.hint
    assert error.value.hint.endswith("; or cut it")

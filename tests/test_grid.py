import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadrat.grid import EDGES, PatchGrid

lengths = st.integers(1, 90)
sizes = st.integers(1, 40)
edges = st.sampled_from(EDGES)


@st.composite
def grids(draw, most_stride=50):
    size = draw(sizes)
    return PatchGrid(
        draw(lengths), draw(lengths), size, draw(st.integers(1, min(most_stride, 50))), draw(edges)
    )


def expected_origins(length, size, stride, edge):
    """Return the origins along one axis by the words of the configuration."""
    if edge == "drop":
        return [origin for origin in range(0, length, stride) if origin + size <= length]
    # One that starts when all before it end inside the image is needed; others are not.
    reaching = [
        origin
        for origin in range(0, length, stride)
        if all(earlier + size < length for earlier in range(0, origin, stride))
    ]
    if edge == "shift":
        return sorted({min(origin, length - size) for origin in reaching}) if length >= size else []
    return reaching


def covered_pixels(grid):
    mask = np.zeros((grid.height, grid.width), bool)
    for y, x, height, width in grid.windows():
        mask[y : y + height, x : x + width] = True
    return mask


@given(grids())
def test_origins_are_those_that_the_edge_asks_for(grid):
    assert grid.ys == expected_origins(grid.height, grid.patch_size, grid.stride, grid.edge)
    assert grid.xs == expected_origins(grid.width, grid.patch_size, grid.stride, grid.edge)


@given(grids())
def test_windows_are_in_row_major_order(grid):
    windows = list(grid.windows())
    assert [(y, x) for y, x, *_ in windows] == [(y, x) for y in grid.ys for x in grid.xs]
    assert windows == sorted(windows)
    assert len(windows) == len(grid) == grid.rows * grid.cols


@given(grids())
def test_only_partial_patches_are_smaller_and_they_end_at_the_image(grid):
    for y, x, height, width in grid.windows():
        if grid.edge == "partial":
            assert height == min(grid.patch_size, grid.height - y) >= 1
            assert width == min(grid.patch_size, grid.width - x) >= 1
        else:
            assert height == width == grid.patch_size


@given(grids())
def test_only_padded_patches_reach_past_the_image(grid):
    for y, x, height, width in grid.windows():
        if grid.edge != "pad":
            assert y + height <= grid.height
            assert x + width <= grid.width
        assert y < grid.height
        assert x < grid.width


@given(lengths, lengths, sizes, st.data())
def test_share_of_dropped_pixels_is_that_of_pixels_in_no_patch(height, width, size, data):
    grid = PatchGrid(height, width, size, data.draw(st.integers(1, size)), data.draw(edges))
    assert grid.dropped == pytest.approx(1 - covered_pixels(grid).mean())


@given(lengths, lengths, sizes, st.data())
def test_padding_loses_no_pixel(height, width, size, data):
    grid = PatchGrid(height, width, size, data.draw(st.integers(1, size)), "pad")
    assert covered_pixels(grid).all()


def test_gaps_of_a_wide_stride_do_not_count_as_dropped():
    assert PatchGrid(100, 100, patch_size=10, stride=20).dropped == 0


def test_columns_beyond_the_gap_of_a_wide_stride_count_as_dropped():
    assert PatchGrid(100, 105, patch_size=10, stride=20).dropped == pytest.approx(5 / 105)


def test_image_smaller_than_a_patch_has_no_patch_and_drops_all():
    grid = PatchGrid(511, 2000)
    assert list(grid.windows()) == []
    assert grid.dropped == 1


@pytest.mark.parametrize(
    ("edge", "windows"),
    [
        ("drop", [(0, 0, 4, 4)]),
        ("pad", [(0, 0, 4, 4), (0, 4, 4, 4)]),
        ("partial", [(0, 0, 4, 4), (0, 4, 4, 2)]),
        ("shift", [(0, 0, 4, 4), (0, 2, 4, 4)]),
    ],
)
def test_edge_names_what_becomes_of_the_last_column(edge, windows):
    assert list(PatchGrid(4, 6, 4, 4, edge).windows()) == windows


@pytest.mark.parametrize("name", ["height", "width", "patch_size", "stride"])
def test_size_that_is_not_positive_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1 px"):
        PatchGrid(**{"height": 1, "width": 1, "patch_size": 1, "stride": 1} | {name: 0})


def test_unknown_edge_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="edge is 'crop'; it must be one of drop, pad, partial, shift"):
        PatchGrid(1, 1, edge="crop")

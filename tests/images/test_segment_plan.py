from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from quadrat.grid import Window
from quadrat.images.blocks import BlockGrid, Spans
from quadrat.images.segment_plan import SegmentPlan


def spans(length, step, size=None, origin=0):
    starts = tuple(range(origin, length, step))
    return Spans(starts, tuple(min(start + (size or step), length) for start in starts))


lengths = st.integers(1, 60)


@st.composite
def plans(draw):
    segment_bytes = draw(st.sampled_from([1, 100_000, 10**9]))
    axes = []
    for _ in range(2):
        length, segment, patch, stride = (draw(lengths) for _ in range(4))
        blocks = spans(max(1, length - patch + 1), stride)
        blocks = Spans(blocks.starts, tuple(start + patch for start in blocks.starts))
        axes.append((spans(length, segment), blocks))
    (rows, block_rows), (cols, block_cols) = axes
    planes = tuple((channel,) for channel in range(draw(st.integers(1, 3))))
    segments = SimpleNamespace(rows=rows, cols=cols, planes=planes, segment_bytes=segment_bytes)
    return segments, BlockGrid(block_rows, block_cols)


@given(plans())
def test_every_segment_that_a_block_needs_is_decoded_once_and_no_other(plan):
    segments, grid = plan
    planned = sorted(
        (task.plane, row, col)
        for task in SegmentPlan(segments, grid).tasks()
        for row in task.segment_rows
        for col in task.segment_cols
    )
    touched = [
        [
            index
            for index in range(len(axis))
            if any(
                axis.starts[index] < stop and axis.stops[index] > start
                for start, stop in zip(blocks.starts, blocks.stops, strict=True)
            )
        ]
        for axis, blocks in ((segments.rows, grid.rows), (segments.cols, grid.cols))
    ]
    assert planned == [
        (plane, row, col) for plane in range(len(segments.planes)) for row in touched[0] for col in touched[1]
    ]


@given(plans(), st.lists(st.tuples(*4 * [lengths]), max_size=3))
def test_of_what_is_wanted_every_segment_is_decoded_once_and_no_other(plan, windows):
    segments, grid = plan
    windows = [Window(*window) for window in windows]
    planned = [
        (task.plane, row, col)
        for task in SegmentPlan(segments, grid, windows).tasks()
        for row in task.segment_rows
        for col in task.segment_cols
    ]
    wanted = [
        (plane, row, col)
        for task in SegmentPlan(segments, grid).tasks()
        for plane in [task.plane]
        for row in task.segment_rows
        for col in task.segment_cols
        if any(
            segments.rows.starts[row] < y + height
            and segments.rows.stops[row] > y
            and segments.cols.starts[col] < x + width
            and segments.cols.stops[col] > x
            for y, x, height, width in windows
        )
    ]
    assert sorted(planned) == sorted(wanted)


@given(plans())
def test_tasks_come_in_the_order_of_the_first_block_that_needs_them(plan):
    segments, grid = plan
    firsts = [
        task.block_rows[0] * len(grid.cols) + task.block_cols[0]
        for task in SegmentPlan(segments, grid).tasks()
    ]
    assert firsts == sorted(firsts)


@given(plans())
def test_the_blocks_in_flight_hold_every_task(plan):
    segments, grid = plan
    in_flight = SegmentPlan(segments, grid).blocks_in_flight(1)
    for task in SegmentPlan(segments, grid).tasks():
        first = task.block_rows[0] * len(grid.cols) + task.block_cols[0]
        last = task.block_rows[-1] * len(grid.cols) + task.block_cols[-1]
        assert last - first < in_flight

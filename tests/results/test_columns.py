import numpy as np
import pyarrow as pa
import pytest

from quadrat.results.columns import lay_out, to_array


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint64", "bool"])
def test_numbers_keep_their_dtype_where_no_patch_was_skipped(dtype):
    values = np.array([0, 1, 1], dtype)
    array = to_array(pa.array(values), ())
    assert array.dtype == values.dtype
    np.testing.assert_array_equal(array, values)


@pytest.mark.parametrize(
    ("dtype", "expected"), [("float32", "float32"), ("int8", "float64"), ("bool", "float64")]
)
def test_skipped_patches_are_nan_among_numbers(dtype, expected):
    array = to_array(pa.array(np.array([5, 1, 0], dtype), mask=np.array([True, False, False])), ())
    assert array.dtype == expected
    np.testing.assert_array_equal(array, [np.nan, 1, 0])


def test_skipped_patches_are_none_among_labels():
    array = to_array(pa.array(["a", None, "b"]), ())
    assert array.dtype == object
    assert array.tolist() == ["a", None, "b"]


@pytest.mark.parametrize("kind", [pa.list_(pa.int16()), pa.list_(pa.int16(), 4)])
def test_arrays_have_their_shape_and_are_nan_where_skipped(kind):
    column = pa.array([[1, 2, 3, 4], None, [5, 6, 7, 8]], kind)
    expected = np.array([[[1, 2], [3, 4]], [[np.nan] * 2] * 2, [[5, 6], [7, 8]]])
    np.testing.assert_array_equal(to_array(column, (2, 2)), expected)


@pytest.mark.parametrize("kind", [pa.null(), pa.int8(), pa.list_(pa.float32()), pa.list_(pa.float64(), 3)])
def test_all_skipped_is_all_nan(kind):
    np.testing.assert_array_equal(to_array(pa.nulls(2, kind), ()), np.full(2, np.nan))


def test_all_skipped_arrays_keep_their_shape():
    skipped = to_array(pa.nulls(2, pa.list_(pa.float32(), 3)), (3,))
    np.testing.assert_array_equal(skipped, np.full((2, 3), np.nan))


def test_values_lie_at_their_row_and_column():
    rows, cols = np.array([1, 0, 1, 0, 0, 1]), np.array([0, 0, 2, 2, 1, 1])
    laid_out = lay_out(np.stack([rows, cols], axis=1), rows, cols)
    np.testing.assert_array_equal(laid_out, np.moveaxis(np.mgrid[:2, :3], 0, 2))

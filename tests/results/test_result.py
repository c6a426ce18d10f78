import os
import shutil

import numpy as np
import pyarrow as pa
import pytest

from quadrat.errors import ResultsError
from quadrat.results.result import read_result


def test_result_tells_what_its_footer_holds(write_result):
    predictions = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    path = write_result("north/ü.tif", predictions, software={"numpy": "2"})
    result = read_result(path)
    assert (result.filename, result.path, result.status) == ("north/ü.tif", path, "ok")
    assert (result.content_id, result.content_hash) == ("1-2", "ab" * 16)
    assert (result.prediction_type, result.shape) == (pa.list_(pa.float32(), 6), (2, 3))
    assert (result.counts["patches"], result.pixels) == (2, 512 * 1024)
    assert (result.failure, result.software) == ({}, (("numpy", "2"),))


def test_result_without_a_row_is_an_image_without_a_patch(write_result):
    result = read_result(write_result("a.tif", []))
    assert (result.status, result.prediction_type, result.shape) == ("no_patch", None, ())


def test_failure_is_told_with_its_reason(write_result):
    failure = {"kind": "data", "message": "truncated", "hint": "copy it again"}
    result = read_result(write_result("a.tif", failure=failure))
    assert (result.status, result.failure, result.counts["patches"]) == ("failed", failure, 0)


def test_result_of_another_version_is_refused(write_result):
    path = write_result("a.tif", [1.0])
    renamed = path.replace("0123456789ab", "ba9876543210")
    os.rename(path, renamed)
    with pytest.raises(ResultsError, match="unlike its name or footer"):
        read_result(renamed)


def test_result_of_an_image_of_that_name_in_another_folder_is_refused(write_result):
    path, north = write_result("a.tif", [1.0]), write_result("north/a.tif", [2.0])
    shutil.copyfile(path, north)
    with pytest.raises(ResultsError, match="unlike its name or footer"):
        read_result(north)


def test_result_with_another_number_of_rows_than_its_footer_tells_is_refused(write_result):
    path = write_result("a.tif", [1.0, 2.0], counts={"patches": 3})
    with pytest.raises(ResultsError, match="2 of 3 rows"):
        read_result(path)

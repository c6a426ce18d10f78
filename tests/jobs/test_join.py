import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from xxhash import xxh3_128_hexdigest

from quadrat.errors import FileChangedError, PredictorError, ResultsError
from quadrat.files.hashing import hash_file, stat_token
from quadrat.grid import PatchGrid
from quadrat.jobs import predict
from quadrat.jobs.join import join_shards
from quadrat.jobs.predict import predict_image
from quadrat.plan.sharding import cut_rows
from quadrat.results.schema import read_footer
from quadrat.results.writer import write_failure

HEIGHT, WIDTH, SIZE = 700, 600, 32


@pytest.fixture
def write_large(images, noise):
    """Return a function that writes an image whose upper half is dark, and returns its path and pixels."""

    def write(name="a.tif", **layout):
        pixels = noise(HEIGHT, WIDTH, 3)
        pixels[: HEIGHT // 2] //= 4
        layout = layout or {"tile": (48, 48), "compression": "zlib"}
        tifffile.imwrite(images / name, pixels, photometric="rgb", **layout)
        return images / name, pixels

    return write


@pytest.fixture
def tasks_of(make_task, tmp_path):
    """Return a function from an image to the tasks of its shards and of their join."""

    def cut(path, **changes):
        whole = make_task(path, **changes)
        grid = whole.reading.grid(HEIGHT, WIDTH)
        files = {str(path): [*stat_token(os.stat(path))[:2]]}
        parts = [
            make_task(
                path,
                rows=[rows[0], rows[-1]],
                output=str(tmp_path / f"results/shards/{rows[0]}-{rows[-1]}.parquet"),
                image_files=files,
                **changes,
            )
            for rows in cut_rows(grid, 48, HEIGHT * WIDTH // 4)
        ]
        assert len(parts) >= 3
        output = str(tmp_path / "results/versions/joined.parquet")
        return parts, make_task(path, shards=[part.output for part in parts], output=output, **changes)

    return cut


def predict_and_join(parts, joined):
    for part in reversed(parts):
        predict_image(part)
    join_shards(joined)


@pytest.fixture
def both(tasks_of, make_task):
    """Return a function that predicts an image whole and in shards, and returns the bytes of both results."""

    def predict(path, **changes):
        whole = make_task(path, **changes)
        predict_image(whole)
        parts, joined = tasks_of(path, **changes)
        predict_and_join(parts, joined)
        return Path(whole.output).read_bytes(), Path(joined.output).read_bytes()

    return predict


@pytest.mark.parametrize("edge", ["drop", "pad", "partial", "shift"])
@pytest.mark.parametrize("stride", [20, 32, 45])
def test_joined_result_is_that_of_the_whole_image_byte_for_byte(write_large, both, edge, stride):
    whole, joined = both(write_large()[0], edge=edge, stride=stride)
    assert whole == joined


@pytest.mark.parametrize(
    "layout", [{"rowsperstrip": 7, "compression": "lzw"}, {"tile": (16, 64)}, {"planarconfig": "contig"}]
)
def test_joined_result_does_not_depend_on_the_layout_of_the_file(write_large, both, layout):
    whole, joined = both(write_large(**layout)[0])
    assert whole == joined


def test_model_whose_predictions_depend_on_their_batch_sees_the_batches_of_the_whole_image(
    write_large, both, user_code
):
    source = "def predict_batch(patches):\n    return patches.mean((1, 2, 3)) + 1000 * len(patches)\n"
    whole, joined = both(write_large()[0], predictor=user_code(source, "predict_batch", batch_size=7))
    assert whole == joined


@pytest.mark.parametrize(
    "prediction",
    [
        "int(patch.mean()) if patch.mean() < 50 else patch.mean()",
        "np.int8(3) if patch.mean() < 50 else np.uint8(200) if patch[0, 0, 0] % 2 else np.float16(0.5)",
        "'water' if patch.mean() < 50 else 'built-up land'",
        "patch[:2, :3].astype(np.float32)",
        "np.nan if patch.mean() < 50 else np.inf",
        "patch.mean() > 50",
    ],
)
def test_predictions_of_any_type_are_joined_to_the_bytes_of_the_whole_image(
    write_large, both, user_code, prediction
):
    model = user_code(f"def predict_patch(patch):\n    return {prediction}\n", batch_size=3)
    whole, joined = both(write_large()[0], predictor=model)
    assert whole == joined


def test_types_are_joined_in_the_order_of_the_image(write_large, tasks_of, both, user_code, noise):
    path, _ = write_large()
    first, *_ = tasks_of(path)[0]
    pixels = noise(HEIGHT, WIDTH, 3)
    pixels[: (first.rows[1] + 1) * SIZE] = 0
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(48, 48), compression="zlib")
    # numpy joins these three types to float64 in this order, and to float32 if the last two are joined first.
    bright = "np.uint16(60_000) if patch[0, 0, 0] % 2 else np.float32(0.5)"
    source = f"def predict_patch(patch):\n    return np.int16(-1) if patch.max() == 0 else {bright}\n"
    whole, joined = both(path, predictor=user_code(source, batch_size=1))
    assert whole == joined


@pytest.mark.parametrize(
    "prediction", ["0 if patch[0, 0, 0] < 10 or patch.mean() < 50 else 0.5", "[1, 2] if {} else [1, 0.5]"]
)
def test_types_may_change_after_any_row_group(write_large, both, user_code, monkeypatch, prediction):
    monkeypatch.setattr("quadrat.results.writer.ROW_GROUP_ROWS", 5)
    # Integers first, in the middle of a shard and after the last of its row groups.
    prediction = prediction.format("patch[0, 0, 0] % 16")
    model = user_code(f"def predict_patch(patch):\n    return {prediction}\n", batch_size=1)
    whole, joined = both(write_large()[0], predictor=model, skip={"background": {"mean_above": 99.5}})
    assert whole == joined


def test_row_groups_are_those_of_the_whole_image(write_large, both, monkeypatch):
    monkeypatch.setattr("quadrat.results.writer.ROW_GROUP_ROWS", 25)
    whole, joined = both(write_large()[0])
    assert whole == joined


@pytest.mark.parametrize(
    "skip",
    [
        {"background": {"mean_above": 60}},
        {"background": {"mean_above": 99}},
        {"background": {"mean_above": 0}},
    ],
)
def test_skipped_patches_are_joined_to_the_bytes_of_the_whole_image(write_large, both, monkeypatch, skip):
    monkeypatch.setattr("quadrat.results.writer.ROW_GROUP_ROWS", 25)
    whole, joined = both(write_large()[0], skip=skip)
    assert whole == joined


@pytest.mark.parametrize("edge", ["pad", "partial"])
def test_statistics_without_nodata_are_joined_to_the_bytes_of_the_whole_image(write_large, both, edge):
    predictor = {"kind": "statistics", "of": ["mean", "p50"], "ignore_nodata": True}
    whole, joined = both(write_large()[0], edge=edge, nodata=7, predictor=predictor)
    assert whole == joined
    plain, _ = both(write_large()[0], edge=edge, predictor=predictor | {"ignore_nodata": False})
    assert plain != whole


def test_patches_outside_of_regions_are_joined_to_the_bytes_of_the_whole_image(
    write_large, both, monkeypatch, tmp_path
):
    monkeypatch.setattr("quadrat.results.writer.ROW_GROUP_ROWS", 25)
    square = [[64, 100], [300, 100], [300, 600], [64, 600], [64, 100]]
    polygon = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [square]}}
    path = tmp_path / "a.tif.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [polygon]}))
    regions = {"path": str(path), "hash": hash_file(path), "in_pixels": True}
    whole, joined = both(write_large()[0], regions=regions)
    assert b"outside" in joined
    assert whole == joined


def test_joined_predictions_are_the_means_of_the_loaded_image(write_large, tasks_of):
    path, pixels = write_large()
    parts, joined = tasks_of(path)
    for part in parts:
        predict_image(part)
    join_shards(joined)
    windows = PatchGrid(HEIGHT, WIDTH, SIZE, SIZE).windows()
    expected = [np.mean(pixels[y : y + height, x : x + width]) for y, x, height, width in windows]
    assert pd.read_parquet(joined.output)["prediction"].tolist() == expected
    assert read_footer(joined.output)[0]["content_hash"] == xxh3_128_hexdigest(path.read_bytes())


def test_first_shard_alone_hashes_the_file(write_large, tasks_of):
    path, _ = write_large()
    parts, _ = tasks_of(path)
    for part in parts:
        predict_image(part)
    expected = [xxh3_128_hexdigest(path.read_bytes())] + [None] * (len(parts) - 1)
    assert [read_footer(part.output)[0]["content_hash"] for part in parts] == expected


def test_shard_reads_only_its_part(write_large, tasks_of):
    path, _ = write_large()
    parts, _ = tasks_of(path)
    with tifffile.TiffFile(path) as tif:
        first = tif.pages[0].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[first : first + 100] = bytes(100)
    stat = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for part in parts:
        predict_image(part)
    assert ["failure" in read_footer(part.output)[0] for part in parts] == [True] + [False] * (len(parts) - 1)


# what goes wrong


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_broken_segment_is_the_failure_that_the_whole_image_has(write_large, both, share):
    path, _ = write_large()
    content = bytearray(path.read_bytes())
    start = int(len(content) * share)
    content[start : start + 3000] = bytes(3000)
    path.write_bytes(content)
    whole, joined = both(path)
    assert b'"kind": "data"' in joined
    assert whole == joined


def test_truncated_file_is_the_failure_that_the_whole_image_has(write_large, both):
    path, _ = write_large()
    path.write_bytes(path.read_bytes()[:-5000])
    whole, joined = both(path)
    assert b'"kind": "data"' in joined
    assert whole == joined


def test_types_that_cannot_be_joined_are_refused_as_in_the_whole_image(
    write_large, tasks_of, make_task, user_code
):
    source = "def predict_patch(patch):\n    return 1 if patch.mean() < 50 else 'bright'\n"
    path, _ = write_large()
    changes = {"predictor": user_code(source, batch_size=1)}
    with pytest.raises(PredictorError) as of_whole:
        predict_image(make_task(path, **changes))
    parts, joined = tasks_of(path, **changes)
    with pytest.raises(PredictorError) as of_shards:
        predict_and_join(parts, joined)
    assert str(of_shards.value) == str(of_whole.value)
    assert not Path(joined.output).exists()


def test_shards_of_text_and_of_numbers_are_refused(write_large, tasks_of, user_code, tmp_path):
    mark = tmp_path / "mark"
    source = f"import os\ndef predict_patch(patch):\n    return 'a' if os.path.exists({str(mark)!r}) else 1\n"
    parts, joined = tasks_of(write_large()[0], predictor=user_code(source))
    for part in parts:
        predict_image(part)
        mark.touch()
    row = parts[1].rows[0]
    line = (
        f"patch row {row}, col 0: the prediction is text, but earlier ones are int64; "
        "return one type and shape for all patches"
    )
    with pytest.raises(PredictorError, match=line):
        join_shards(joined)


def test_every_shard_notices_that_the_file_was_written_to_since_it_was_planned(write_large, tasks_of):
    path, _ = write_large()
    parts, _ = tasks_of(path)
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))
    for part in parts:
        with pytest.raises(FileChangedError, match=r"a\.tif was written to during the run; run again"):
            predict_image(part)
        assert not Path(part.output).exists()


@pytest.fixture
def predicted(write_large, tasks_of):
    """Return the tasks of shards that are there and of their join."""
    parts, joined = tasks_of(write_large()[0])
    for part in parts:
        predict_image(part)
    return parts, joined


def test_shard_is_a_result_with_fewer_rows(predicted):
    parts, joined = predicted
    join_shards(joined)
    tables = [pd.read_parquet(part.output) for part in parts]
    pd.testing.assert_frame_equal(pd.concat(tables, ignore_index=True), pd.read_parquet(joined.output))


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_part_of_a_shard_is_refused_with_what_to_do(predicted, share):
    parts, joined = predicted
    content = Path(parts[1].output).read_bytes()
    Path(parts[1].output).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        ResultsError,
        match=rf"{parts[1].output}: quadrat did not write this result, or not whole .*; delete the file",
    ):
        join_shards(joined)
    assert not Path(joined.output).exists()


def test_missing_rows_are_noticed(predicted):
    _, joined = predicted
    del joined.shards[1]
    with pytest.raises(ResultsError, match="do not make up the image's 21 grid rows"):
        join_shards(joined)
    assert not Path(joined.output).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "ba9876543210"}, "its version is ba9876543210, but the image has 0123456789ab"),
        ({"filename": "b.tif"}, "its filename is b.tif, but the image has a.tif"),
    ],
)
def test_shard_of_something_else_is_refused_with_what_to_do(predicted, tasks_of, changes, message):
    parts, joined = predicted
    others, _ = tasks_of(parts[0].path, **changes)
    predict_image(others[2])
    with pytest.raises(ResultsError) as caught:
        join_shards(joined)
    assert str(caught.value) == f"{parts[2].output}: {message}; delete the file and run again"


def test_shard_that_other_software_made_is_refused(predicted, monkeypatch):
    parts, joined = predicted
    monkeypatch.setattr(predict, "__version__", "0.0.9")
    predict_image(parts[1])
    with pytest.raises(ResultsError, match=rf"{parts[1].output}: its software is .*'quadrat': '0\.0\.9'"):
        join_shards(joined)


def test_failure_that_may_pass_shows_no_content(predicted):
    parts, joined = predicted
    failure = {"kind": "crash", "message": "the worker was ended by SIGKILL", "hint": ""}
    write_failure(parts[1].writer(), parts[1].identity() | {"content_hash": None}, failure)
    join_shards(joined)
    footer, _ = read_footer(joined.output)
    assert (footer["failure"], footer["content_hash"], footer["rows"]) == (failure, None, 0)

from pathlib import Path

import numpy as np
import pytest

from quadrat.errors import PredictorError, ResultsError
from quadrat.grid import Window
from quadrat.results.shard import ShardWriter, has_failed, play, read_shard, remove_shard

POSITIONS = [(3, 0, Window(96, 0, 32, 32)), (3, 1, Window(96, 32, 32, 16))]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "shards/north/a.npz")


class Recorder:
    """Keeps what it is given to write."""

    def __init__(self):
        self.batches = []

    def append(self, positions, predictions):
        self.batches.append((positions, predictions))

    skip = append


def played(path):
    """Return what a shard plays to the writer of the result."""
    recorder = Recorder()
    play(path, recorder)
    return recorder.batches


def write(path, *batches, **footer):
    with ShardWriter(path) as writer:
        for predictions in batches:
            writer.append(POSITIONS[: len(predictions)], predictions)
        writer.finish({"version": "0123456789ab"} | footer)


@pytest.mark.parametrize(
    "predictions",
    [
        np.array([0.1, np.nan]),
        np.array([1, 2], np.int8),
        np.array([0.5, 2], np.float16),
        np.array([2**64 - 1, 0], np.uint64),
        np.array([1, 2], ">i4"),
        np.array([True, False]),
        np.array(["water", "ü"]),
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    ],
    ids=lambda values: str(values.dtype),
)
def test_batches_are_read_as_they_were_written(path, predictions):
    write(path, predictions, predictions[:1])
    batches = played(path)
    assert [positions for positions, _ in batches] == [POSITIONS, POSITIONS[:1]]
    for (_, found), expected in zip(batches, (predictions, predictions[:1]), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_reasons_of_skipped_patches_are_read_as_they_were_written(path):
    with ShardWriter(path) as writer:
        writer.skip(POSITIONS, ["nodata", "outside"])
        writer.finish({})
    assert played(path) == [(POSITIONS, ["nodata", "outside"])]


def test_footer_is_read_back(path):
    write(path, np.array([1.0]), counts={"patches": 1, "dropped": 0.1})
    footer = read_shard(path)
    assert (footer["version"], footer["counts"]) == ("0123456789ab", {"patches": 1, "dropped": 0.1})


def test_numpy_opens_a_shard(path):
    write(path, np.array([1.5, 2.5]))
    with np.load(path) as arrays:
        assert arrays["0.predictions"].tolist() == [1.5, 2.5]
        assert arrays["0.cells"].tolist() == [[3, 0, 96, 0, 32, 32], [3, 1, 96, 32, 32, 16]]


def test_nothing_is_left_of_a_shard_that_was_not_finished(path):
    with pytest.raises(PredictorError):
        write(path, np.array([1.0]), np.array([None]))
    assert list(Path(path).parent.iterdir()) == []


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_part_of_a_shard_is_refused_with_what_to_do(path, share):
    write(path, np.array([1.0]))
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(len(content) * share)])
    for read in (read_shard, played):
        with pytest.raises(
            ResultsError, match=r"a\.npz: is not a whole shard .*; delete the file and run again"
        ):
            read(path)
    assert has_failed(path)


def test_byte_that_changed_is_noticed(path):
    write(path, np.arange(2.0))
    content = Path(path).read_bytes()
    Path(path).write_bytes(content.replace(np.float64(1).tobytes(), np.float64(2).tobytes(), 1))
    with pytest.raises(ResultsError, match="is not a whole shard"):
        played(path)


def test_predictions_that_cannot_be_stored_are_refused(path):
    with pytest.raises(PredictorError, match="predictions are object: must be numbers"):
        write(path, np.array([None]))


def test_shard_with_a_failure_has_failed(path):
    write(path, np.array([1.0]))
    assert not has_failed(path)
    write(path, failure={"kind": "crash", "message": "m", "hint": ""})
    assert has_failed(path)


def test_last_shard_takes_its_folders_along(path, tmp_path):
    write(path)
    other = str(tmp_path / "shards/b.npz")
    write(other)
    remove_shard(path, str(tmp_path))
    assert [entry.name for entry in (tmp_path / "shards").iterdir()] == ["b.npz"]
    (tmp_path / "kept").touch()
    remove_shard(other, str(tmp_path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]

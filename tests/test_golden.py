"""Results that must not change unless RESULTS_VERSION does.

They were compared with a plain numpy loop when they were written; now they tell a change that nobody meant.
After one that was meant, raise RESULTS_VERSION and write them anew: ``python tests/test_golden.py``.
"""

import json
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from quadrat import RESULTS_VERSION
from quadrat.files.hashing import digest
from quadrat.jobs.predict import predict_image
from quadrat.jobs.task import ImageTask
from quadrat.settings import ReadSettings

IMAGES = Path(__file__).resolve().parents[1] / "examples/first_run/images"
GOLDEN = Path(__file__).with_suffix(".json")

# Formats whose pixels do not depend on a decoder's version.
FILENAMES = ("survey/elevation.tif", "fields.png")
GRIDS = {
    "drop": {"patch_size": 512, "stride": 512},
    "pad": {"patch_size": 300, "stride": 300},
    "partial": {"patch_size": 500, "stride": 400},
    "shift": {"patch_size": 400, "stride": 400},
}


def result_digest(filename, edge, folder):
    """Predict an image, and give a digest of its rows."""
    task = ImageTask(
        filename=filename,
        path=str(IMAGES / filename),
        version="0" * 12,
        content_id="1-2",
        reading=ReadSettings(edge=edge, **GRIDS[edge]),
        predictor={"kind": "mean"},
        output=str(folder / "result.parquet"),
        threads=2,
    )
    predict_image(task)
    return digest(pq.ParquetFile(task.output).read().to_pylist())


@pytest.fixture(scope="module")
def golden():
    """Return what was promised."""
    return json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("edge", GRIDS)
@pytest.mark.parametrize("filename", FILENAMES)
def test_result_is_what_this_results_version_promises(filename, edge, golden, tmp_path):
    assert golden["results_version"] == RESULTS_VERSION
    assert result_digest(filename, edge, tmp_path) == golden["results"][filename][edge]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        results = {
            filename: {edge: result_digest(filename, edge, Path(temporary)) for edge in GRIDS}
            for filename in FILENAMES
        }
    text = json.dumps({"results_version": RESULTS_VERSION, "results": results}, indent=2)
    GOLDEN.write_text(text + "\n")

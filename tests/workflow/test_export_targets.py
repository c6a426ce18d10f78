"""Exports of a run, asked for by name."""

import numpy as np
import rasterio

from studies import means, write_image


def test_an_export_predicts_what_is_missing_and_writes_only_what_changed(finished):
    first = finished.run("geotiff")
    assert first.code == 0, first.output
    assert first.predicted == 0
    files = {path: path.stat().st_ino for path in finished.results.glob("geotiff/**/*.tif")}
    assert len(files) == 4
    pixels = write_image(finished.images / "north/a.tif", 99)
    second = finished.run("geotiff")
    assert second.code == 0, second.output
    assert second.predicted == 1
    assert "1 written, 3 unchanged" in second.output
    changed = finished.results / "geotiff/north/a.tif.tif"
    assert [path for path, inode in files.items() if path.stat().st_ino != inode] == [changed]
    with rasterio.open(changed) as raster:
        np.testing.assert_array_equal(raster.read(1).ravel(), means(pixels))


def test_an_export_that_cannot_be_is_one_line_and_exit_code_1(finished):
    (finished.path / "model.py").write_text("def predict_patch(patch):\n    return 'water'\n")
    predictor = {"kind": "python", "path": "model.py", "name": "predict_patch"}
    finished.configure(predictor=predictor)
    run = finished.run("wsinfer")
    assert run.code == 1
    assert run.predicted == 4
    lines = [line for line in run.output.splitlines() if line.startswith("quadrat: ")]
    assert lines == [
        "quadrat: a.tif: predictions are labels, but WSInfer's columns contain probabilities; "
        "use snakemake qupath (log: results/logs/wsinfer.log)"
    ]

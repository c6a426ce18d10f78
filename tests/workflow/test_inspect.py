"""Looking at the images before a run."""

import pandas as pd

from studies import write_image


def test_images_are_inspected_before_any_prediction(study):
    write_image(study.images / "a.tif", 1)
    (study.images / "notes.txt").touch()
    for _ in range(2):  # it always looks again
        run = study.run("inspect")
        assert run.code == 0, run.output
        assert run.jobs("inspect") == 1
        assert "not images: 1 .txt" in run.output
        (study.images / "cut.tif").write_bytes((study.images / "a.tif").read_bytes()[:5000])
    table = pd.read_csv(study.results / "inspect.tsv", sep="\t")
    assert table["filename"].tolist() == ["a.tif", "cut.tif"]
    assert table["problem"].notna().tolist() == [False, True]
    assert not (study.results / "manifest.tsv").exists()
    assert study.versions() == []

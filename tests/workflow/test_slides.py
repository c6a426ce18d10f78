"""A slide in a folder is one image, and is predicted again when a file of its folder changes."""

import shutil

import numpy as np

from slides import write_mrxs
from studies import means


def test_data_in_the_folder_of_a_slide_replaced(study):
    first, second = np.random.default_rng(0).integers(0, 256, (2, 128, 256, 3), np.uint8)
    write_mrxs(study.images / "a.mrxs", first, tile=64, levels=1)
    run = study.run()
    assert (run.code, run.predicted) == (0, 1), run.output
    assert study.dictionary == {"a.mrxs": means(first)}
    run = study.run()
    assert run.nothing_to_be_done, run.output
    write_mrxs(study.path / "a.mrxs", second, tile=64, levels=1)
    shutil.rmtree(study.images / "a")
    (study.path / "a").rename(study.images / "a")
    run = study.run()
    assert (run.code, run.predicted) == (0, 1), run.output
    assert study.dictionary == {"a.mrxs": means(second)}

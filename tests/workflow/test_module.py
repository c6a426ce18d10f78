"""quadrat as a module of another workflow."""

import pytest

from documents import blocks
from studies import PROJECT, means, write_image


@pytest.fixture
def host(study):
    """Return a study that is run by the workflow of the document, of which quadrat is a module."""
    (block,) = blocks("python", "docs/terminal.md")
    (study.path / "Snakefile").write_text(block.text)
    (study.path / "quadrat").symlink_to(PROJECT)
    (study.path / "config.yaml").unlink()
    study.images = study.path / "my_images"
    return study


def run(host, *arguments):
    """Run the workflow of the host by the command that its user types."""
    typed = [*arguments, "--cores", "2", "--rerun-triggers", "mtime"]
    host.command = lambda: ["python", "-m", "snakemake", *typed]
    return host.run()


def test_another_workflow_goes_on_from_the_results_and_shows_all_that_snakemake_shows(host):
    pixels = write_image(host.images / "a.tif", 1, 300, 600)
    (host.images / "broken.tif").write_text("not an image")
    first = run(host)
    assert first.code == 0, first.output
    assert first.jobs("quadrat_predict_image") == 2
    assert host.dictionary == {"a.tif": means(pixels, 256)}
    assert (host.path / "count.txt").read_text().strip() == "2"
    lines = first.output.splitlines()
    assert "rule count:" in first.output
    assert any(line.startswith("2 images: 2 new") for line in lines)
    assert any(line.startswith("broken.tif: not an image") for line in lines)
    assert any(line.startswith("2 images: 1 ok, 1 failed") for line in lines)

    # The images are all predicted and merged; who asks for all of quadrat gets its exit code.
    assert run(host).nothing_to_be_done
    whole = run(host, "quadrat_all")
    assert (whole.code, whole.jobs("quadrat_.*")) == (1, 0)
    assert "1 image failed (config.yaml: on_failure)" in whole.output

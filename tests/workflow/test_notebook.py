"""The example notebook shows what a run of the first example gives."""

import shutil

import nbformat
from nbclient import NotebookClient

from studies import PROJECT

NOTEBOOK = "examples/first_run/notebook.ipynb"


def shown(notebook):
    """Give what each cell of code shows: its text, and the kinds of its output."""
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    return [[(output.data.get("text/plain"), sorted(output.data)) for output in cell] for cell in outputs]


def test_example_notebook_shows_what_it_was_saved_with(study, monkeypatch):
    study.configure(images=str(PROJECT / "examples/first_run/images"), patch_size=512)
    run = study.run()
    assert run.code == 0, run.output
    place = study.path / NOTEBOOK
    place.parent.mkdir(parents=True)
    shutil.copy(PROJECT / NOTEBOOK, place)
    saved, notebook = (nbformat.read(place, nbformat.NO_CONVERT) for _ in range(2))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT / "scripts"))
    monkeypatch.setenv("IPYTHONDIR", str(study.path / "ipython"))
    folder = {"metadata": {"path": str(place.parent)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=folder).execute()
    assert shown(notebook) == shown(saved)
    assert any("image/png" in kinds for cell in shown(saved) for _, kinds in cell)

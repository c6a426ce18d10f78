import zipfile

import pytest

from quadrat.errors import ConfigError
from quadrat.predictors.files import TorchFormat, files_of, torch_format


@pytest.fixture
def write_archive(tmp_path):
    """Return a function that writes an archive of empty files, and returns its path."""

    def write(*names):
        with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
            for name in names:
                archive.writestr(name, b"")
        return str(tmp_path / "model.pt")

    return write


def test_mean_is_made_from_no_files():
    assert files_of({"kind": "mean"}) == {}


def test_files_of_user_code_are_its_source_and_what_it_depends_on(write_model):
    source, weights = write_model("one = 1\n"), write_model("", "weights.bin")
    predictor = {"kind": "python", "path": source, "name": "predict_patch"}
    assert files_of(predictor) == {"path": [source], "depends": []}
    assert files_of(predictor | {"depends": [weights]}) == {"path": [source], "depends": [weights]}


@pytest.mark.parametrize("kind", ["onnx", "torch", "python"])
def test_missing_file_is_refused_with_its_key(kind):
    with pytest.raises(ConfigError, match=r"^no_model: no such file \(config\.yaml: predictor: path\)$"):
        files_of({"kind": kind, "path": "no_model"})


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (["m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"], TorchFormat.SCRIPT),
        (["m/archive_format", "m/models/model.json"], TorchFormat.PROGRAM),
        (["version", "serialized_exported_program.json"], TorchFormat.PROGRAM),
        (["m/data.pkl", "m/data/0"], TorchFormat.CHECKPOINT),
        ([], TorchFormat.CHECKPOINT),
    ],
)
def test_format_of_pytorch_is_reported_by_the_names_in_its_archive(write_archive, names, form):
    assert torch_format(write_archive(*names)) is form


def test_file_that_is_no_archive_counts_as_a_pickle(write_model):
    assert torch_format(write_model("text", "model.pt")) is TorchFormat.CHECKPOINT


def test_program_of_torch_export_is_refused_unless_it_is_trusted(write_archive):
    path = write_archive("m/archive_format", "m/models/model.json")
    with pytest.raises(ConfigError, match=r"a program of torch\.export, which can run any code"):
        files_of({"kind": "torch", "path": path})
    assert files_of({"kind": "torch", "path": path, "trust": True}) == {"path": [path]}

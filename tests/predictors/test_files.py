import os
import pickle
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
    ],
)
def test_format_of_pytorch_is_reported_by_the_names_in_its_archive(write_archive, names, form):
    assert torch_format(write_archive(*names)) is form


def test_file_that_is_no_archive_may_be_a_pickle(tmp_path):
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"weights": [1.5]}))
    assert torch_format(str(tmp_path / "model.pt")) is TorchFormat.CHECKPOINT


SAFETENSORS = b'{"weights":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a model of PyTorch"),
        (b"<!DOCTYPE html>", "is not a model of PyTorch"),
        (b"version https://git-lfs.github.com/spec/v1", "is not a model of PyTorch"),
        (
            len(SAFETENSORS).to_bytes(8, "little") + SAFETENSORS + bytes(4),
            "contains weights without their network",
        ),
        (b"PK\3\4" + bytes(100), "is only a part of a model"),
    ],
)
def test_file_without_a_model_of_pytorch_is_refused_by_its_content(content, reason, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{path} {reason}.*config.yaml: predictor: path"):
        files_of({"kind": "torch", "path": str(path)})


def test_archive_of_something_else_is_no_model(write_archive):
    with pytest.raises(ConfigError, match="is not a model of PyTorch"):
        files_of({"kind": "torch", "path": write_archive("letter.txt")})


def test_folder_and_file_that_may_not_be_read_are_no_missing_files(write_model, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="is a folder; name a file"):
        files_of({"kind": "python", "path": str(tmp_path)})
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read every file
    with pytest.raises(ConfigError, match=r"my_model\.py: cannot be read: permission denied \(config"):
        files_of({"kind": "python", "path": write_model("")})


def test_program_of_torch_export_is_refused_unless_it_is_trusted(write_archive):
    path = write_archive("m/archive_format", "m/models/model.json")
    with pytest.raises(ConfigError, match=r"a program of torch\.export, which can run any code"):
        files_of({"kind": "torch", "path": path})
    assert files_of({"kind": "torch", "path": path, "trust": True}) == {"path": [path]}

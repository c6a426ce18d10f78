import json
import re
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from quadrat.errors import ConfigError, PredictorError
from quadrat.predictors import load_predictor
from quadrat.predictors.files import files_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

from quadrat.predictors.torch import TorchSession  # noqa: E402

# PyTorch 2.13 deprecates TorchScript, which many have their models in.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

BATCH = np.random.default_rng(0).random((4, 3, 24, 32), np.float32)


class Network(torch.nn.Module):
    def __init__(self, outputs="one"):
        super().__init__()
        self.outputs = outputs
        self.first = torch.nn.Conv2d(3, 8, 5, stride=2)
        self.norm = torch.nn.BatchNorm2d(8)
        self.drop = torch.nn.Dropout(0.5)
        self.last = torch.nn.Linear(8, 5)

    def forward(self, pixels):
        features = torch.relu(self.norm(self.first(pixels))).mean((2, 3))
        scores = self.last(self.drop(features))
        if self.outputs == "several":
            return scores, features
        return {"scores": scores, "features": features} if self.outputs == "named" else scores


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    """Return the path of a network in each format."""
    folder = tmp_path_factory.mktemp("torch")
    paths = {
        kind: str(folder / f"{kind}.pt") for kind in ("script", "program", "checkpoint", "weights", "old")
    }
    example = torch.from_numpy(BATCH)
    torch.jit.trace(network, example).save(paths["script"])
    several = torch.export.Dim("several")
    torch.export.save(
        torch.export.export(network, (example,), dynamic_shapes=({0: several},)), paths["program"]
    )
    torch.save(network, paths["checkpoint"])
    torch.save(network.state_dict(), paths["weights"])
    torch.save(network, paths["old"], _use_new_zipfile_serialization=False)
    return paths


@pytest.mark.parametrize("kind", ["script", "program", "checkpoint", "old"])
def test_predictions_are_those_of_the_network(network, saved, kind):
    with torch.inference_mode():
        expected = network(torch.from_numpy(BATCH)).numpy()
    session = TorchSession(saved[kind], trust=kind != "script")
    np.testing.assert_allclose(session.run(BATCH), expected, rtol=1e-5, atol=1e-6)
    assert session.device == "cpu"
    assert session.software == {"torch": torch.__version__}


def test_model_that_was_saved_in_training_does_not_train(tmp_path):
    training = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5), torch.nn.BatchNorm2d(8), torch.nn.Dropout(0.5)
    ).train()
    torch.jit.script(training).save(tmp_path / "training.pt")
    session = TorchSession(str(tmp_path / "training.pt"))
    with torch.inference_mode():
        expected = training.eval()(torch.from_numpy(BATCH)).numpy()
    np.testing.assert_allclose(session.run(BATCH), expected, rtol=1e-5, atol=1e-6)


def test_program_shows_its_shape_and_script_does_not(saved):
    assert TorchSession(saved["program"], trust=True).shape.axes == (None, 3, 24, 32)
    assert TorchSession(saved["script"]).shape.axes == (None,) * 4


@pytest.mark.parametrize("kind", ["script", "program"])
def test_threads_do_not_change_a_bit(saved, kind, info):
    patches = np.random.default_rng(1).integers(0, 256, (20, 24, 32, 3), np.uint8)
    bits = set()
    for threads in (1, 2, 3):
        model = {"kind": "torch", "path": saved[kind], "batch_size": 3, "trust": True}
        predictor = load_predictor(model, threads)
        predictor.check(info())
        bits |= {predictor.predict(patches).tobytes() for _ in range(3)}
    assert len(bits) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_given_as_float32(dtype, tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Conv2d(3, 2, 3).to(dtype).eval()
    batch = torch.from_numpy(BATCH)
    torch.jit.trace(model, batch.to(dtype)).save(tmp_path / "half.pt")
    session = TorchSession(str(tmp_path / "half.pt"))
    given = session.run(BATCH.astype(session.shape.dtype))
    assert given.dtype == np.float32
    with torch.inference_mode():
        np.testing.assert_array_equal(given, model(batch.to(dtype)).float().numpy())


@pytest.mark.parametrize(("outputs", "names"), [("several", (1, 2)), ("named", ("scores", "features"))])
def test_output_is_chosen_by_name_or_number(outputs, names, tmp_path):
    model = Network(outputs).eval()
    with torch.inference_mode():
        traced = torch.jit.trace(model, torch.from_numpy(BATCH), strict=False)
        expected = model(torch.from_numpy(BATCH))
    traced.save(tmp_path / "model.pt")
    path = str(tmp_path / "model.pt")
    for number, name in enumerate(names, start=1):
        wanted = expected[name] if outputs == "named" else expected[number - 1]
        for output in (name, number):
            np.testing.assert_allclose(
                TorchSession(path, output).run(BATCH), wanted.numpy(), rtol=1e-5, atol=1e-6
            )
    with pytest.raises(PredictorError, match=rf"no output is chosen; choose one of {names[0]}, {names[1]}"):
        TorchSession(path).run(BATCH)
    with pytest.raises(PredictorError, match="the model has no output 3; choose one of"):
        TorchSession(path, 3).run(BATCH)


# what may be loaded


@pytest.mark.parametrize("kind", ["checkpoint", "old", "weights", "program"])
def test_model_that_can_run_code_is_refused_unless_it_is_trusted(saved, kind):
    configuration = {"kind": "torch", "path": saved[kind]}
    with pytest.raises(ConfigError, match=r", which can run any code .* or set trust: true") as caught:
        files_of(configuration)
    assert "\n" not in str(caught.value)
    assert files_of(configuration | {"trust": True}) == {"path": [saved[kind]]}
    with pytest.raises(PredictorError, match=r" is a .*, which is not trusted \(config"):
        TorchSession(saved[kind])


def test_torchscript_needs_no_trust(saved):
    assert files_of({"kind": "torch", "path": saved["script"]}) == {"path": [saved["script"]]}


def test_weights_without_a_model_are_refused_with_the_way_out(saved):
    with pytest.raises(
        PredictorError, match=r"contains weights without their network; .*torch\.export\.save"
    ):
        TorchSession(saved["weights"], trust=True)


@pytest.mark.parametrize("place", ["guards_code", "expr_str"])
def test_code_in_a_program_runs_only_where_it_is_trusted(saved, place, tmp_path):
    harmed, harm = tmp_path / "harmed.pt2", tmp_path / "harm"
    code = f"__import__('pathlib').Path('{harm}').touch()"
    with zipfile.ZipFile(saved["program"]) as archive, zipfile.ZipFile(harmed, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("/model.json"):
                program = json.loads(content) | ({"guards_code": [code]} if place == "guards_code" else {})
                content = json.dumps(program)
                if place == "expr_str":
                    content = re.sub(r'"expr_str": "[^"]*"', f'"expr_str": "{code}"', content)
            copy.writestr(name, content)
    with pytest.raises(PredictorError, match="not trusted"):
        TorchSession(str(harmed))
    assert not harm.exists()
    with suppress(PredictorError):
        TorchSession(str(harmed), trust=True).run(BATCH)
    assert harm.exists()


def test_file_that_is_no_model_is_refused_by_name(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"not a model")
    with pytest.raises(PredictorError, match=r"model\.pt is not a model of PyTorch"):
        TorchSession(str(path), trust=True)


def test_network_of_other_channels_is_refused_with_its_own_words(saved):
    with pytest.raises(
        PredictorError, match=r"^the model failed; PyTorch reports: Given.*channels"
    ) as caught:
        TorchSession(saved["script"]).run(BATCH[:, :2].copy())
    assert "\n" not in str(caught.value)


def test_missing_cuda_is_refused_only_where_it_is_asked_for_by_name(saved, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert TorchSession(saved["script"], device="auto").device == "cpu"
    with pytest.raises(PredictorError, match=r"device cuda: torch .* finds no GPU here"):
        TorchSession(saved["script"], device="cuda")


class Nothing(torch.nn.Module):
    def forward(self, pixels):
        return None


def test_model_that_outputs_no_tensor_is_refused(tmp_path):
    torch.jit.script(Nothing()).save(tmp_path / "model.pt")
    with pytest.raises(PredictorError, match=r"^the model outputs NoneType; it must output a tensor"):
        TorchSession(str(tmp_path / "model.pt")).run(BATCH)


class Sum(torch.nn.Module):
    def forward(self, *arrays):
        return sum(array.sum() for array in arrays)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 7)], "takes 2 axes; it must take four"),
        ([(2, 3, 4, 5), (2, 3)], "the model takes 2 arrays; it must take one"),
    ],
)
def test_program_that_takes_no_image_is_refused_with_what_it_takes(shapes, message, tmp_path):
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Sum(), tuple(torch.zeros(shape) for shape in shapes)), path)
    with pytest.raises(PredictorError, match=message):
        TorchSession(str(path), trust=True)

import pytest

from quadrat import config, settings
from quadrat.config import refuse_contradictions
from quadrat.errors import ConfigError
from quadrat.settings import gpus


@pytest.mark.parametrize(
    ("predictor", "there", "wanted"),
    [
        ({"kind": "mean"}, True, 0),
        ({"kind": "onnx"}, True, 0),
        ({"kind": "onnx", "device": "cpu"}, True, 0),
        ({"kind": "onnx", "device": "cuda"}, False, 1),
        ({"kind": "torch", "device": "auto"}, True, 1),
        ({"kind": "torch", "device": "auto"}, False, 0),
    ],
)
def test_job_takes_a_gpu_where_its_model_may_run_on_one(predictor, there, wanted, monkeypatch, tmp_path):
    (tmp_path / "driver").write_bytes(b"")
    monkeypatch.setattr(settings, "NVIDIA_DRIVER", str(tmp_path / ("driver" if there else "none")))
    assert gpus(predictor) == wanted


def test_torch_where_it_is_not_installed_is_refused_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setattr(config, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"kind torch needs PyTorch, which is not installed here; pip install torch"
    ) as caught:
        refuse_contradictions({"kind": "torch", "path": "model.pt"})
    assert "\n" not in str(caught.value)
    refuse_contradictions({"kind": "onnx", "path": "model.onnx"})

"""The session of an ONNX model, by ONNX Runtime."""

import ctypes
import re

import numpy as np
import onnxruntime

from quadrat.errors import PredictorError
from quadrat.predictors.predictor import without_objects
from quadrat.predictors.session import ModelShape

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
BFLOAT16 = "tensor(bfloat16)"
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(uint16)": np.uint16,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


# Parts of errors that are of no use: a code, the file again, and places in the source of ONNX Runtime.
SURPLUS = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?(/\S+:\d+ .*?\) (?=[A-Z]))?"
    r"|Non-zero status code returned while running (?=\w+ node)|(?<=Status Message: )\S+:\d+ \S+ "
)


class OnnxSession:
    """Runs an ONNX model; see `Session`.

    Parameters
    ----------
    path : str
        The model.
    output : str or int, optional
        The output to use, by name or counted from 1; not needed if the model has only one.
    device : {'cpu', 'cuda', 'auto'}
        `auto` is CUDA if this ONNX Runtime and the machine have it.

    Raises
    ------
    PredictorError
        If the model cannot be loaded, does not take exactly one array of four axes, or lacks the output; or
        if the device is missing.
    """

    def __init__(self, path: str, output: str | int | None = None, device: str = "cpu"):
        self._session = _load(path, device)
        self.device = "cuda" if self._session.get_providers()[0] == PROVIDERS["cuda"] else "cpu"
        if device == "cuda" != self.device:
            raise PredictorError(
                "device cuda: CUDA does not start here; see the log, or set device: cpu "
                "(config.yaml: predictor: device)"
            )
        self.software = {"onnxruntime": onnxruntime.__version__}
        taken = self._session.get_inputs()
        if len(taken) != 1 or len(taken[0].shape) != 4 or taken[0].type not in DTYPES:
            inputs = ", ".join(f"{one.name} ({_axes(one.shape)}) of type {one.type}" for one in taken)
            raise PredictorError(
                f"{path} takes {inputs}; it must take one array (n, channel, height, width) of numbers"
            )
        axes = tuple(length if isinstance(length, int) else None for length in taken[0].shape)
        self.shape = ModelShape(axes, np.dtype(DTYPES[taken[0].type]))
        self._input = taken[0].name
        self._output = _output_name([one.name for one in self._session.get_outputs()], output, path)
        types = {one.name: one.type for one in self._session.get_outputs()}
        self._is_bfloat16 = types[self._output] == BFLOAT16

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Return the chosen output; see `Session.run`."""
        try:
            if self._is_bfloat16:
                value = onnxruntime.OrtValue.ortvalue_from_numpy(batch)
                return _from_bfloat16(
                    self._session.run_with_ort_values([self._output], {self._input: value})[0]
                )
            predictions = self._session.run([self._output], {self._input: batch})[0]
        except Exception as error:
            raise PredictorError(f"the model failed; ONNX Runtime reports: {_reason(error)}") from error
        if not isinstance(predictions, np.ndarray):
            raise PredictorError(
                f"output {self._output} of the model is a sequence of arrays; choose another "
                "(config.yaml: predictor: output)"
            )
        predictions = without_objects(predictions)
        return predictions.astype(np.float32) if predictions.dtype == np.float16 else predictions


def _load(path: str, device: str) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    if device == "cuda" and PROVIDERS["cuda"] not in available:
        raise PredictorError(
            f"device cuda: onnxruntime {onnxruntime.__version__} is built without CUDA; pip install "
            "onnxruntime-gpu, or set device: cpu (config.yaml: predictor: device)"
        )
    wanted = ["cpu"] if device == "cpu" else ["cuda", "cpu"]
    options = onnxruntime.SessionOptions()
    # The last bits of sums inside a model depend on the number of threads.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    providers = [PROVIDERS[name] for name in wanted if PROVIDERS[name] in available]
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:
        raise PredictorError(f"{path}: cannot be loaded; ONNX Runtime reports: {_reason(error)}") from error


def _output_name(names: list[str], output: str | int | None, path: str) -> str:
    if output is None and len(names) == 1:
        return names[0]
    if isinstance(output, int) and 1 <= output <= len(names):
        return names[output - 1]
    if output in names:
        return output
    wanted = "no output is chosen" if output is None else f"the model has no output {output}"
    raise PredictorError(
        f"{path}: {wanted}; choose one of {', '.join(names)} (config.yaml: predictor: output)"
    )


def _from_bfloat16(value: onnxruntime.OrtValue) -> np.ndarray:
    """Copy bfloat16, for which numpy has no type: each value is the upper half of a float32."""
    shape = value.shape()
    size = int(np.prod(shape))
    halves = np.ctypeslib.as_array((ctypes.c_uint16 * size).from_address(value.data_ptr()))
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(shape)


def _axes(shape: list[int | str | None]) -> str:
    return ", ".join("any" if length is None else str(length) for length in shape)


def _reason(error: Exception) -> str:
    """Return the first line of an error without its surplus."""
    return SURPLUS.sub("", str(error).partition("\n")[0]) or type(error).__name__

"""The session of a PyTorch model: TorchScript; a program of torch.export or a checkpoint only if trusted."""

from typing import Any

import numpy as np
import torch

from quadrat.errors import ConfigError, PredictorError
from quadrat.predictors.files import WEIGHTS_ALONE, TorchFormat, torch_format
from quadrat.predictors.session import ModelShape

AXES = 4


class TorchSession:
    """Runs a PyTorch model; see `Session`.

    Parameters
    ----------
    path : str
        The model.
    output : str or int, optional
        The output to use, by name or counted from 1; not needed if the model has only one.
    device : {'cpu', 'cuda', 'auto'}
        `auto` is CUDA if this PyTorch and the machine have it.
    trust : bool
        Whether it may have another format than TorchScript, and so run any code when it is loaded.

    Raises
    ------
    PredictorError
        If the model cannot be loaded or does not take one array of four axes, or if the device is missing.
    """

    def __init__(self, path: str, output: str | int | None = None, device: str = "cpu", trust: bool = False):
        has_cuda = torch.cuda.is_available()
        if device == "cuda" and not has_cuda:
            raise PredictorError(
                f"device cuda: torch {torch.__version__} finds no GPU here; use cpu or auto, or "
                "install a torch with CUDA (config.yaml: predictor: device)"
            )
        self.device = "cuda" if has_cuda and device != "cpu" else "cpu"
        self.software = {"torch": torch.__version__}
        # The last bits of sums inside a model depend on the number of threads.
        torch.set_num_threads(1)
        try:
            self._model, axes, self._dtype = _load(path, self.device, trust)
        except (ConfigError, PredictorError) as error:
            raise PredictorError(str(error)) from error
        except Exception as error:
            raise PredictorError(f"{path}: cannot be loaded; PyTorch reports: {_last_line(error)}") from error
        if len(axes) != AXES:
            raise PredictorError(
                f"{path} takes {len(axes)} axes; it must take four (n, channel, height, width)"
            )
        # numpy has no bfloat16.
        as_numpy = torch.float32 if self._dtype == torch.bfloat16 else self._dtype
        self.shape = ModelShape(axes, torch.zeros((), dtype=as_numpy).numpy().dtype)
        self._output = output

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Return the chosen output; see `Session.run`."""
        try:
            with torch.inference_mode():
                outputs = self._model(torch.from_numpy(batch).to(self.device, self._dtype))
        except Exception as error:
            raise PredictorError(f"the model failed; PyTorch reports: {_last_line(error)}") from error
        chosen = _chosen_output(outputs, self._output)
        if not isinstance(chosen, torch.Tensor):
            raise PredictorError(f"the model outputs {type(chosen).__name__}; it must output a tensor")
        if chosen.dtype in (torch.float16, torch.bfloat16):
            chosen = chosen.float()
        return chosen.cpu().numpy()


def _load(path: str, device: str, trust: bool) -> tuple[Any, tuple[int | None, ...], torch.dtype]:
    """Return a model with the input that it declares: length of each axis, and type."""
    form = torch_format(path)
    if form is not TorchFormat.SCRIPT and not trust:
        raise PredictorError(f"{path} is {form.value}, which is not trusted (config.yaml: predictor: trust)")
    if form is TorchFormat.PROGRAM:
        return _load_program(path, device)
    if form is TorchFormat.SCRIPT:
        model = torch.jit.load(path, map_location=device)
    else:
        model = torch.load(path, map_location=device, weights_only=False)
        if not isinstance(model, torch.nn.Module):
            what = WEIGHTS_ALONE if isinstance(model, dict) else f"{type(model).__name__}, which is no model"
            raise PredictorError(f"{path} contains {what} (config.yaml: predictor: path)")
    model.eval()
    types = [weights.dtype for weights in model.parameters() if weights.is_floating_point()]
    return model, (None,) * AXES, types[0] if types else torch.float32


def _load_program(path: str, device: str) -> tuple[Any, tuple[int | None, ...], torch.dtype]:
    program = torch.export.load(path)
    names = program.graph_signature.user_inputs
    taken = [
        node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names
    ]
    if len(taken) != 1:
        raise PredictorError(f"{path}: the model takes {len(taken)} arrays; it must take one")
    if device != "cpu":  # pragma: no cover  takes a GPU
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    axes = tuple(length if isinstance(length, int) else None for length in taken[0].shape)
    return program.module(), axes, taken[0].dtype


def _chosen_output(outputs: Any, output: str | int | None) -> torch.Tensor:
    if isinstance(outputs, dict):
        named = outputs
    else:
        several = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        named = dict(enumerate(several, start=1))
    if output is None and len(named) == 1:
        return next(iter(named.values()))
    if output in named:
        return named[output]
    if isinstance(output, int) and 1 <= output <= len(named):
        return list(named.values())[output - 1]
    wanted = "no output is chosen" if output is None else f"the model has no output {output}"
    names = ", ".join(map(str, named))
    raise PredictorError(f"{wanted}; choose one of {names} (config.yaml: predictor: output)")


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip().removeprefix("RuntimeError: ").split(". ")[0] if lines else type(error).__name__

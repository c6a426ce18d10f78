"""Studies: folders with images and a configuration, run by the real Snakemake."""

import atexit
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tifffile
import yaml

from forking import NO_THREADS

PROJECT = Path(__file__).resolve().parents[2]
PATCH_SIZE = 32


@cache
def _starter():
    """Start the program that runs Snakemake, once; it ends with this process."""
    starter = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("snakemake_starter.py"))],
        env=os.environ | {"PYTHONPATH": ""} | NO_THREADS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(starter.communicate)
    return starter


@dataclass
class Run:
    """What one call of Snakemake did: its exit code, what a person saw, and what it logged."""

    code: int
    output: str
    log: str = ""

    def jobs(self, rule):
        """Count the jobs of a rule that finished."""
        return len(re.findall(rf"Finished jobid: \d+ \(Rule: {rule}\)", self.log))

    @property
    def predicted(self):
        """Count the images that were predicted."""
        return self.jobs("predict_image")

    @property
    def merged(self):
        """Tell whether the dictionary was made anew."""
        return self.jobs("merge_predictions") == 1

    @property
    def nothing_to_be_done(self):
        """Tell whether Snakemake found all up to date."""
        return "Nothing to be done" in self.output


class Study:
    """A folder in which quadrat is run."""

    def __init__(self, path):
        self.path = Path(path)
        self.images = self.path / "images"
        self.results = self.path / "results"

    def configure(self, **keys):
        """Change keys of the configuration."""
        file = self.path / "config.yaml"
        config = yaml.safe_load(file.read_text()) if file.exists() else {}
        file.write_text(yaml.safe_dump(config | keys, allow_unicode=True))

    def command(self, *arguments, project=PROJECT, cores=2):
        """Return the command that a user of an installation elsewhere types."""
        configured = [] if "--configfile" in arguments else ["--configfile", "config.yaml"]
        return [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(project / "Snakefile")),
            *("--workflow-profile", str(project / "profiles/default"), "--cores", str(cores), *arguments),
            *configured,
        ]

    def run(self, *arguments, python_path="", **options):
        """Run the workflow by this command, and give what it did."""
        _, _, _, *snakemake = self.command(*arguments, **options)
        environment = os.environ | {"PYTHONPATH": str(python_path)}
        starter, logs = _starter(), set(self.logs())
        with tempfile.NamedTemporaryFile("r") as terminal:
            job = [snakemake, str(self.path), environment, terminal.name]
            starter.stdin.write(json.dumps(job) + "\n")
            starter.stdin.flush()
            code = int(starter.stdout.readline())
            new = sorted(set(self.logs()) - logs)
            return Run(code, terminal.read(), "".join(log.read_text() for log in new))

    def logs(self):
        """List Snakemake's logs of all runs; the last is the newest."""
        return sorted(self.path.glob(".snakemake/log/*.snakemake.log"))

    def start(self, **options):
        """Start a run in a session of its own, whose output nobody reads, and give its process."""
        return subprocess.Popen(
            self.command(**options),
            cwd=self.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def dictionary(self):
        """Read predictions.json."""
        return json.loads((self.results / "predictions.json").read_text())

    def result(self, filename):
        """Read the result of one image."""
        return pq.ParquetFile(self.results / f"predictions/{filename}.parquet").read()

    def merged_bytes(self):
        """Read the merged files that must not differ between runs."""
        return [
            (self.results / name).read_bytes()
            for name in ("predictions.parquet", "predictions.json", "images.tsv")
        ]

    def versions(self):
        """List the results of all versions."""
        return sorted(self.results.glob("versions/**/*.parquet"))


def write_image(path, seed, height=100, width=140, **options):
    """Write a small TIFF of noise, and give its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", **options)
    return pixels


def patches(pixels, size=PATCH_SIZE):
    """Cut a loaded image as a plain loop does."""
    height, width = pixels.shape[:2]
    return [
        pixels[y : y + size, x : x + size]
        for y in range(0, height - size + 1, size)
        for x in range(0, width - size + 1, size)
    ]


def means(pixels, size=PATCH_SIZE):
    """Return what a plain loop over the loaded image gives."""
    return [float(np.mean(patch)) for patch in patches(pixels, size)]


def write_network(path, weights):
    """Write a network that weighs the means of three channels, with its weights in a file beside it.

    With weights such as 1, 0.5 and 0.25 its predictions can be added up in any order, without rounding.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    stored = numpy_helper.from_array(np.array(weights, np.float32)[:, np.newaxis], "weights")
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, None, None])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, [stored])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, path, save_as_external_data=True, location="weights.data", size_threshold=0)

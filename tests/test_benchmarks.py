"""The benchmarks measure what the library is today."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Return the folder of images and tables: what one benchmark has drawn, the next does not draw again."""
    return tmp_path_factory.mktemp("benchmarks")


@pytest.mark.long
def test_benchmark_of_one_small_layout_writes_its_tables(output):
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--size", "600", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--layouts", "deflate_tiles", "--output", str(output)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "## Beside the limit" in (output / "bench.md").read_text()


@pytest.mark.long
def test_benchmark_of_a_network_shows_what_it_takes_beside_its_limits(output):
    command = [sys.executable, str(BENCHMARKS / "model.py"), "--size", "600", "--rounds", "1"]
    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "- careful loop / whole job: time" in (output / "model.md").read_text()


@pytest.mark.long
def test_benchmark_of_runs_and_reruns_shows_what_each_costs():
    command = [sys.executable, str(BENCHMARKS / "workflow.py")]
    small = ["--computed", "3", "--images", "3", "--side", "16", "--rounds", "1"]
    done = subprocess.run([*command, *small], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "- all computed / bare workflow:" in done.stdout
    assert "- nothing changed / bare workflow:" in done.stdout

"""The benchmarks measure what the library is today."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_benchmark_of_one_small_layout_writes_its_tables(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--size", "600", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--layouts", "deflate_tiles", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "## Beside the limit" in (tmp_path / "bench.md").read_text()


def test_benchmark_of_a_network_tells_what_it_takes_beside_its_limits(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "model.py"), "--size", "600", "--rounds", "1"]
    done = subprocess.run([*command, "--output", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "- careful loop / whole job: time" in (tmp_path / "model.md").read_text()


def test_benchmark_of_reruns_tells_what_each_costs():
    command = [sys.executable, str(BENCHMARKS / "workflow.py"), "--images", "3", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "- nothing changed / bare workflow:" in done.stdout

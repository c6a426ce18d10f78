import os
import subprocess
import sys
from pathlib import Path

import quadrat
from quadrat.run.snakemake import lend_to_jobs


def test_processes_that_are_started_import_this_copy_before_all_others(tmp_path, monkeypatch):
    (tmp_path / "quadrat.py").write_text("raise RuntimeError('the wrong one')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lend_to_jobs()
    lend_to_jobs()
    assert os.environ["PYTHONPATH"].count(os.pathsep) == 1
    command = [sys.executable, "-c", "import quadrat; print(quadrat.__file__)"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(found) == Path(quadrat.__file__)

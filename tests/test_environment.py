import importlib.util
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def test_container_is_made_of_files_that_are_there():
    copied = re.findall(r"^COPY (.+) \S+$", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(copied) > 3
    assert all((PROJECT / path).exists() for paths in copied for path in paths.split())


def test_conda_environment_pins_what_the_lock_file_pins():
    spec = importlib.util.spec_from_file_location("pin", PROJECT / "envs/pin.py")
    pin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pin)
    lock = (PROJECT / "requirements.lock").read_text()
    pinned = re.findall(
        r"- ([a-z0-9-]+)=([0-9.]+)$", (PROJECT / "envs/quadrat.yaml").read_text(), re.MULTILINE
    )
    names = {conda: pypi for pypi, conda in pin.CONDA_NAMES.items()}
    assert len(pinned) >= 14
    for name, version in pinned:
        assert f"{names.get(name, name)}=={version}" in lock

"""Files of installed packages, whose import would take longer than a drawing."""

from importlib.util import find_spec
from pathlib import Path


def package_folder(name: str) -> Path:
    """Return the folder of a package that quadrat depends on, without importing it."""
    spec = find_spec(name)
    assert spec is not None, f"{name} is among the dependencies of quadrat"
    assert spec.origin is not None, f"{name} is a package with an __init__.py"
    return Path(spec.origin).parent

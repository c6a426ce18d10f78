"""Small wheels for tests: packages of an index that no test has to reach."""

import zipfile
from pathlib import Path


def write_wheel(
    folder: Path, name: str, version: str, files: dict[str, str | bytes], requires_python: str = ">=3"
) -> Path:
    """Write a wheel without dependencies that holds some files, and return its path."""
    metadata = {
        "Metadata-Version": "2.1",
        "Name": name,
        "Version": version,
        "Requires-Python": requires_python,
    }
    wheel = {"Wheel-Version": "1.0", "Root-Is-Purelib": "true", "Tag": "py3-none-any"}
    info = f"{name}-{version}.dist-info"
    members = files | {
        f"{info}/{member}": "".join(f"{key}: {value}\n" for key, value in fields.items())
        for member, fields in {"METADATA": metadata, "WHEEL": wheel}.items()
    }
    members[f"{info}/RECORD"] = "".join(f"{member},,\n" for member in [*members, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path

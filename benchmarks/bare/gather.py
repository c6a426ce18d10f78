"""Gather the lines of all files."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

Path(snakemake.output[0]).write_text("".join(Path(path).read_text() for path in snakemake.input))

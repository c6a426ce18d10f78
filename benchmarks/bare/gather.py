"""Gather the lines of all files."""

from pathlib import Path

Path(snakemake.output[0]).write_text("".join(Path(path).read_text() for path in snakemake.input))

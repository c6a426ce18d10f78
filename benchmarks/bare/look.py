"""Import what a job of quadrat imports, and write a line."""

from pathlib import Path

import numpy  # noqa: F401
import pyarrow.parquet  # noqa: F401
import tifffile  # noqa: F401

Path(snakemake.output[0]).write_text("done\n")

"""Import what a job of quadrat imports, and write a line."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy  # noqa: F401
import pyarrow.parquet  # noqa: F401
import tifffile  # noqa: F401

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

Path(snakemake.output[0]).write_text("done\n")

"""The terminal, in which Snakemake shows few lines of its own from here on.

Required: to be included first. Defines `PROJECT` and `terminal`.
"""

import sys
from pathlib import Path

# Not workflow.basedir, which is another's folder where quadrat is a module of another workflow.
PROJECT = str(
    Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
)

sys.path.insert(0, f"{PROJECT}/scripts")

from quadrat.run.snakemake import open_terminal

terminal = open_terminal(workflow)

"""The terminal, in which Snakemake shows few lines of its own from here on.

Required: to be included first. Defines `PROJECT` and `terminal`.
"""

import os
import sys
from pathlib import Path

# Not workflow.basedir, which is another's folder where quadrat is a module of another workflow.
PROJECT = str(
    Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
)

LIBRARY = f"{PROJECT}/scripts/quadrat"
if not os.path.isdir(LIBRARY):
    raise SystemExit(
        f"quadrat: {LIBRARY}: no such folder; the Snakefile of a module must lie in a copy of the project on this machine"
    )
sys.path.insert(0, os.path.dirname(LIBRARY))

# The other workflow may have imported another quadrat, such as an installed one.
imported = sys.modules.get("quadrat")
elsewhere = os.path.dirname(getattr(imported, "__file__", None) or "")
if imported and os.path.realpath(elsewhere) != os.path.realpath(LIBRARY):
    if "quadrat.run.snakemake" in sys.modules:
        raise SystemExit(
            f"quadrat: {LIBRARY} and {elsewhere}: modules of two copies of quadrat cannot be in one "
            "workflow; name the same Snakefile in both"
        )
    for name in [name for name in sys.modules if name.partition(".")[0] == "quadrat"]:
        del sys.modules[name]

from quadrat.run.snakemake import open_terminal

terminal = open_terminal(workflow)

"""The run, as Snakemake and a person see it."""

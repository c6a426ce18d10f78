"""Jobs: the work of one job of Snakemake."""

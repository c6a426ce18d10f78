"""Jobs: what one job of Snakemake does."""

#!/bin/bash
# Runs Snakemake itself as a job, for sites that do not want it on a login node. From the folder of the project:
#   sbatch profiles/slurm/head_job.sh --configfile my.yaml
# What follows the script's name is handed to snakemake. Change first: time, which must do for the whole run;
# account and partition.
#SBATCH --job-name=quadrat
#SBATCH --time=2-00:00:00
#SBATCH --cpus-per-task=1
#SBATCH --mem=4000
#SBATCH --output=quadrat-%j.log
# Two minutes before the time is up Snakemake cancels its jobs; the same command goes on from there.
#SBATCH --signal=B:INT@120
# #SBATCH --account=my_account
# #SBATCH --partition=my_partition

exec snakemake --workflow-profile profiles/slurm "$@"

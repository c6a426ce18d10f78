#!/bin/bash
# Runs Snakemake itself as a job, for sites that do not want it on a login node. From the folder of the project, or
# from that of a study where the installation is elsewhere:
#   sbatch --time=2-00:00:00 profiles/slurm/head_job.sh --configfile my.yaml
#   sbatch --time=2-00:00:00 /opt/quadrat/profiles/slurm/head_job.sh -s /opt/quadrat/Snakefile --configfile my.yaml
# The time must do for the whole run, and be no more than the partition allows. Options before the script's name, such
# as --account and --partition, are sbatch's and replace those below; what follows it is handed to snakemake.
#SBATCH --job-name=quadrat
#SBATCH --time=2-00:00:00
#SBATCH --cpus-per-task=1
#SBATCH --mem=4000
#SBATCH --output=quadrat-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
# Before the time is up Snakemake cancels its jobs, for which it may need as long as it sleeps between two looks
# at them, at most three minutes. The same command goes on from there.
#SBATCH --signal=B:INT@300
# #SBATCH --account=my_account
# #SBATCH --partition=my_partition

# Slurm starts this job again when its node was lost. What it had submitted is cancelled, and its lock taken away.
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
	grep -rhoP 'SLURM run ID: \K\S+' .snakemake/log | xargs -r -n 1 scancel --name
	snakemake --workflow-profile slurm "$@" --unlock
fi
# Snakemake looks for this profile in profiles/ here, and then beside the Snakefile.
exec snakemake --workflow-profile slurm "$@"

#!/bin/sh
# What became of a Slurm job: running, success or failed. A controller that does not answer is asked again.

if ! told=$(scontrol --oneliner show job "$1" 2>&1); then
	case $told in
	*"Invalid job id"*) echo failed ;;
	*) echo running ;;
	esac
	exit
fi
case $told in
*JobState=COMPLETED*) echo success ;;
*JobState=PENDING* | *JobState=CONFIGURING* | *JobState=RUNNING* | *JobState=COMPLETING* | *JobState=SUSPENDED*) echo running ;;
*) echo failed ;;
esac

#!/bin/sh
# What became of a PBS job: running, success or failed. Needs the server to remember finished jobs.

told=$(qstat -x -f "$1" 2>/dev/null)
case $told in
*"job_state = F"*"Exit_status = 0"* | *"Exit_status = 0"*"job_state = F"*) echo success ;;
*"job_state = F"* | "") echo failed ;;
*) echo running ;;
esac

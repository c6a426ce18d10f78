#!/bin/sh
# What became of an LSF job: running, success or failed.

case $(bjobs -noheader -o stat "$1" 2> /dev/null) in
DONE) echo success ;;
EXIT | "") echo failed ;;
*) echo running ;;
esac

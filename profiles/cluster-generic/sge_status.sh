#!/bin/sh
# What became of an SGE job: running, success or failed. Its accounting may come minutes after its end.

if qstat -j "$1" > /dev/null 2>&1; then
	echo running
	exit
fi
told=$(qacct -j "$1" 2> /dev/null) || {
	echo running
	exit
}
if echo "$told" | grep -qE '^failed +0' && echo "$told" | grep -qE '^exit_status +0'; then
	echo success
else
	echo failed
fi

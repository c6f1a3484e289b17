# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# What the disk's thread does for an I/O, counted by valgrind, so that a busy machine does not matter.
# Needs no KVM. For `unused` and `overlay`.

requests=20000
warm_up=2000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# instructions BUILD [ARGUMENT ...]: of all that the thread does under tests/dataplane/load ARGUMENT...
# (its last one, REQUESTS, left out), per I/O
instructions() {
	load=$1/tests/dataplane/load
	shift
	valgrind --tool=callgrind --fair-sched=try --callgrind-out-file="$work/out" \
		"$load" "$@" $requests >"$work/log" 2>&1 || return
	callgrind_annotate --inclusive=yes --threshold=100 "$work/out" |
		awk -v n=$((requests + warm_up)) '/:dataplane_run/ {
			gsub(",", "", $1)
			printf "%.1f\n", $1 / n
			exit
		}'
}

# least BUILD [ARGUMENT ...]: the fewest of RUNS (5) runs. Who is ahead of whom, the driver or the disk,
# decides how often the thread looks and sleeps in vain, at depth 1 most of all.
least() {
	run=0
	while [ $run -lt "${RUNS:-5}" ]; do
		run=$((run + 1))
		instructions "$@"
	done | sort -n | head -n 1
}

# ratio WHAT THAN INSTRUCTIONS OF-THAN AT-LEAST: says it; fails where it is lower
ratio() {
	awk -v what="$1" -v than="$2" -v new="$3" -v old="$4" -v least="$5" 'BEGIN {
		if (!old || !new) {
			print what ": not measured"
			exit 1
		}
		printf "%s: %s instructions per I/O, %s %s: ratio %.3f\n", what, new, than, old,
			old / new
		exit old / new < least
	}'
}

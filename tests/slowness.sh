# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# How long tests wait, for those that run in this repository's root folder. SLOW, if set, says that this
# machine is emulated, SLOWNESS=2 that something else runs on it.

slowness=${SLOW:+10} # times that much of a bound
slowness=${slowness:-${SLOWNESS:-1}}

# until_true SECONDS COMMAND ...: of a fast machine
until_true() {
	tries=$(($1 * slowness * 20))
	shift
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.05
	done
}

# killed_after SECONDS PID: unless it is spared before. What it waits with does not outlive it, nor hold
# the output of the script, whose reader would wait for it.
killed_after() {
	(
		trap 'kill $!; exit' TERM
		sleep "$1" &
		wait $! && kill -KILL "$2"
	) >/dev/null 2>&1 &
	killer=$!
}

# A signal to a subshell that has just been forked may be lost: its trap is still the script's.
spared() {
	while kill "$killer" 2>/dev/null; do
		sleep 0.01
	done
	wait "$killer" 2>/dev/null
}

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

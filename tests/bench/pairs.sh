# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# I/Os per second of the engine under its fake driver (tests/dataplane/load), of two that are to be
# compared, in pairs. Needs no KVM, but a quiet machine. For `unused` and `overlay`, after
# instructions.sh, whose folder it uses.

# iops REQUESTS BUILD [ARGUMENT ...]: one run. What the load says of itself; one that is older and says
# nothing is timed as a whole.
iops() {
	count=$1
	load=$2/tests/dataplane/load
	shift 2
	from=$(date +%s%N)
	# shellcheck disable=SC2154
	"$load" "$@" "$count" >"$work/log" 2>&1 || return
	took=$(($(date +%s%N) - from))
	said=$(sed -n 's/^rate //p' "$work/log")
	echo "${said:-$((count * 1000000000 / took))}"
}

# one_pair TURN REQUESTS NEW OLD: both rates, in this order; who is first by turns
one_pair() {
	# shellcheck disable=SC2086 # a build and arguments
	if [ $(($1 % 2)) -eq 0 ]; then
		new=$(iops "$2" $3)
		old=$(iops "$2" $4)
	else
		old=$(iops "$2" $4)
		new=$(iops "$2" $3)
	fi
	echo "$new $old"
}

# pairs WHAT THAN AT-LEAST REQUESTS NEW OLD: says how the builds (with arguments) NEW and OLD compare;
# fails where the median of PAIRS (9) ratios is lower, or one was not measured
pairs() {
	turn=0
	while [ $turn -lt "${PAIRS:-9}" ]; do
		one_pair $turn "$4" "$5" "$6"
		turn=$((turn + 1))
	done | awk 'NF == 2 { printf "%.4f %s %s\n", $1 / $2, $1, $2 }' | sort -n |
		awk -v what="$1" -v than="$2" -v least="$3" -v pairs="${PAIRS:-9}" '
		{ ratio[NR] = $1; new[NR] = $2; old[NR] = $3 }
		END {
			if (NR < pairs) {
				print what ": not measured"
				exit 1
			}
			m = int((NR + 1) / 2)
			printf "%s: %d I/Os per second, %s %d: ratio %.3f (%.3f to %.3f)\n", what,
				new[m], than, old[m], ratio[m], ratio[1], ratio[NR]
			exit ratio[m] < least
		}'
}

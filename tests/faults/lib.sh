# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# What the tests of failing hosts share; sourced by them, in this repository's root folder. They
# report as TAP and need /dev/kvm, of any speed.
#
# On a host that has no /dev/kvm those that set `emulated` before run in the lab: the words for `inside`.
#
# MVMM, PAYLOADS and INJECT say where the monitor, the payload guests and inject.c's program are
# (default: build/); FULL=1 asks for all variants instead of one of each, QUICK=1 for less where the
# machine is emulated (SLOW, as the lab says).
# shellcheck disable=SC2034 # some of it is the sourcing script's
set -u

mvmm=$(realpath -m "${MVMM:-build/mvmm}")
payload=$(realpath -m "${PAYLOADS:-build/tests/guest}")/payload.elf
inject=$(realpath -m "${INJECT:-build/tests/faults/inject}")
full=${FULL:-}
quick=${QUICK:+${SLOW:-}}
[ -z "$full" ] || quick=
# shellcheck source=../slowness.sh
. tests/slowness.sh
patience=$((60 * slowness)) # seconds for a guest

skip_all() {
	echo "1..0 # SKIP $1"
	exit 77
}
[ "$(uname -m)" = x86_64 ] || skip_all "the payload guest is x86-64 code"
if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	if [ -z "${emulated:-}" ] || [ -n "${IN_LAB:-}" ]; then
		skip_all "needs /dev/kvm"
	fi
	# shellcheck disable=SC2086 # several words
	exec tests/lab/inside -t "${full:+2}1700" -p e2fsprogs -p libc-bin -p qemu-utils \
		-p qemu-system-common $emulated
fi
for file in "$mvmm" "$payload" "$inject"; do
	[ -f "$file" ] || skip_all "$file is not built"
done

# Mounts of ours are nobody else's, and go away with us.
if [ "$(id -u)" -eq 0 ] && [ -z "${FAULTS_UNSHARED:-}" ]; then
	FAULTS_UNSHARED=1
	export FAULTS_UNSHARED
	! unshare -m true 2>/dev/null || exec unshare -m "$0" "$@"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/mvmm-faults.XXXXXX") || exit 1
daemons=
clean_up() {
	for daemon in $daemons; do
		kill -CONT "$daemon"
		kill -KILL "$daemon"
	done 2>/dev/null
	cd /
	# Lazily: what is still open there goes with its processes.
	grep " $work" /proc/mounts | cut -d ' ' -f 2 | sort -r | xargs -r -n 1 umount -l 2>/dev/null
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work" || exit 1

tests=0

pass() {
	tests=$((tests + 1))
	echo "ok $tests - $1"
}

skip() {
	tests=$((tests + 1))
	echo "ok $tests - $1 # SKIP $2"
}

# fail WHAT [LINE ...], with what the last run wrote
fail() {
	tests=$((tests + 1))
	echo "not ok $tests - $1"
	shift
	for line; do
		echo "# $line"
	done
	for file in err out; do
		[ ! -e $file ] || head -c 2000 $file | tr -c '[:print:]\n' '?' | sed "s/^/# $file: /"
		echo "#" # it may have been cut in a line
	done
}

# A case collects problems: begin WHAT, problem TEXT ..., end
begin() {
	what=$1
	problems=
	: >out
	: >err
}

problem() {
	problems="$problems$*; "
}

end() {
	if [ -z "$problems" ]; then
		pass "$what"
	else
		fail "$what" "$problems"
	fi
}

# image NAME [SIZE]: a new sparse one
image() {
	rm -f "$1"
	truncate -s "${2:-1M}" "$1"
}

# guest APPEND [OPTION ...]: the payload guest to its end; $status
guest() {
	append=$1
	shift
	timeout -k 5 "$patience" "$mvmm" run --kernel "$payload" --memory 16M \
		--no-default-append --append "$append" --debug-exit "$@" </dev/null >out 2>err
	status=$?
}

# start APPEND [OPTION ...]: the same in the background, as $pid
start() {
	append=$1
	shift
	"$mvmm" run --kernel "$payload" --memory 16M --no-default-append --append "$append" \
		--debug-exit "$@" </dev/null >out 2>err &
	pid=$!
}

# finish: waits for $pid, not without end; $status, and how long that took in $ms
finish() {
	began=$(date +%s%N)
	killed_after "$patience" "$pid"
	wait "$pid"
	status=$?
	ms=$((($(date +%s%N) - began) / 1000000))
	spared
}

# until_said TEXT: the guest in the background has said so
until_said() {
	until_true 20 grep -q -- "$1" out || problem "the guest did not say: $1"
}

want_status() {
	[ "$status" = "$1" ] || problem "status $status, not $1"
}

said() {
	grep -q -- "$1" out || problem "the guest did not say: $1"
}

# complained TEXT: one line of mvmm's has it
complained() {
	[ "$(grep -cF -- "$1" err)" = 1 ] || problem "not one line says: $1"
}

# guest_passed [IMAGE]: all of the guest's checks passed, it came to its end, and the image is what it
# expects.
guest_passed() {
	grep -q '^1\.\.[1-9]' out || problem "the guest did not get to its end"
	! grep -qE '^(not ok|Bail out)' out || problem "a check of the guest failed"
	wanted=$(sed -n 's/^# md5 \([0-9a-f]*\).*/\1/p' out | head -n 1)
	[ -z "$wanted" ] || [ "$wanted" = "$(md5sum <"${1:-/dev/null}" | cut -d ' ' -f 1)" ] ||
		problem "the image is not what the guest has written"
}

plan() {
	echo "1..$tests"
}

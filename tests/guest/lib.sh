# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Cases that run a payload guest: how they begin, run and are judged. For `run` and `hostile`.
#
# MVMM and PAYLOADS say where the monitor and the guests are (default: build/), TMPDIR where the
# disk images go. SLOW, if set, says that this machine is emulated. QUICK, on such a machine, leaves
# out what shows no other kind of case, but a transport or a repetition.

root=$(cd "$(dirname "$0")/../.." && pwd)
mvmm=${MVMM:-$root/build/mvmm}
payloads=${PAYLOADS:-$root/build/tests/guest}
kvm=/dev/kvm
limit=90 # seconds a guest may take, also on a busy host
[ -z "${SLOW:-}" ] || limit=300
quick=${QUICK:+${SLOW:-}}

skip_all() {
	echo "1..0 # SKIP $1"
	exit 77
}
[ "$(uname -m)" = x86_64 ] || skip_all "the payload is x86-64 code"
if [ ! -r $kvm ] || [ ! -w $kvm ]; then
	skip_all "no $kvm here, or not ours to use"
fi
for file in "$mvmm" "$payloads/payload.elf" "$payloads/payload64.elf"; do
	[ -f "$file" ] || skip_all "$file is not built (make all payload)"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/mvmm-guest.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work" || exit 1
tests=0
only=

# wanted NAME: is that case to be run?
wanted() {
	[ -n "$only" ] || return 0
	for word in $only; do
		case $1 in *"$word"*) return 0 ;; esac
	done
	return 1
}

# A case begins with a clean slate: `case_begin NAME || return`.
case_begin() {
	wanted "$1" || return 1
	name=$1
	problem=
	tests=$((tests + 1))
	rm -rf ./*
	: >out
	: >err
}

problem() {
	problem="$problem# $*
"
}

case_end() {
	if [ -z "$problem" ]; then
		echo "ok $tests - $name"
		return
	fi
	echo "not ok $tests - $name"
	printf '%s' "$problem"
	sed 's/\r$//; s/^/#   /' out err
}

# image NAME: an empty disk of 4 MiB
image() {
	rm -f "$1"
	truncate -s 4M "$1"
}

# guest STATUS COMMAND-LINE [OPTION ...]: runs the payload to its end and looks at the exit status
guest() {
	want=$1
	append=$2
	shift 2
	timeout -k 5 $limit "$mvmm" run --kernel "$payloads/${kernel:-payload.elf}" \
		--no-default-append --append "$append" --debug-exit "$@" </dev/null >out 2>err
	got=$?
	[ $got = "$want" ] || problem "exit status $got instead of $want"
}

said() {
	grep -q -- "$1" out || problem "the guest did not say: $1"
}

complained() {
	grep -q -- "$1" err || problem "mvmm did not say: $1"
}

# Every check of the guest passed, and it reached its plan.
guest_passed() {
	grep -q '^1\.\.[1-9]' out || problem "no plan: the guest did not get to its end"
	if grep -E '^(not ok|Bail out)' out >bad; then
		problem "$(cat bad)"
	fi
}

# image_is_right FILE [NUMBER]: the image of that disk is what the guest says it must be.
image_is_right() {
	want=$(sed -n "s/^# md5 \([0-9a-f]*\) of disk ${2:-0}.*/\1/p" out)
	got=$(md5sum <"$1")
	[ "${got%% *}" = "$want" ] || problem "md5 of $1 is '${got%% *}', the guest expects '$want'"
}

# The payload's options for N virtio-mmio disks, as vmm/x86/layout.h places them
mmio_disks() {
	i=0
	while [ $i -lt "$1" ]; do
		printf ' mmio=0xd000%x000:%d' $i $((6 + i))
		i=$((i + 1))
	done
}

# transport_is NAME: pci, mmio, or mmio-page, whose registers are read without an exit. Sets what
# mvmm is told of it, and what the payload is told of N disks there.
transport_is() {
	transport=$1
	flags="--transport ${1%-page}"
	[ "$1" != mmio ] || flags="$flags --mmio-isr exit"
}

places() {
	[ "$transport" = pci ] || mmio_disks "$1"
}

# Sets $ways to the transports of a case: all, or, where it has to be quick, one, each in turn.
transports="pci mmio mmio-page"
take_turns() {
	ways=$transports
	[ -n "$quick" ] || return 0
	ways=${transports%% *}
	transports="${transports#* } $ways"
}

# disk_case NAME TESTS COMMAND-LINE DISK-OPTIONS [OPTION ...]: tests in one guest with one new disk,
# once on each transport
disk_case() {
	take_turns
	for way in $ways; do
		one_disk_case "$way" "$@"
	done
}

one_disk_case() {
	case_begin "$2, $1" || return
	transport_is "$1"
	append="test=$3 $4$(places 1)"
	options=disk.img,serial=GUEST-1234$5
	shift 5
	image disk.img
	# shellcheck disable=SC2086 # several words
	guest 0 "$append" $flags --disk "$options" "$@"
	guest_passed
	image_is_right disk.img
	case_end
}

# machine_case NAME TESTS COMMAND-LINE [OPTION ...]: no disk
machine_case() {
	case_begin "$1" || return
	append="test=$2 $3"
	shift 3
	guest 0 "$append" "$@"
	guest_passed
	case_end
}

# end_case NAME STATUS WAY REASON [OPTION ...]: how the guest ends, and what --result says of it
end_case() {
	case_begin "end by $1" || return
	status=$2
	append="test=end-$3"
	reason=$4
	shift 4
	guest "$status" "$append" --result result "$@"
	grep -q "\"reason\": *\"$reason\"" result || problem "--result says $(cat result)"
	case_end
}

# Waits until the guest in the background has said something.
wait_said() {
	i=0
	until grep -q -- "$1" out; do
		i=$((i + 1))
		if [ $i -gt $((10 * limit)) ]; then
			problem "the guest did not say: $1"
			return
		fi
		sleep 0.1
	done
}

has_vcpu() {
	cat "/proc/$1/task"/*/comm 2>/dev/null | grep -qx vcpu0
}

# process_below PID: where the guest runs, for a timeout(1) of that number: a child of it, or, with
# busybox's, which becomes mvmm, itself. Prints nothing if there is none.
process_below() {
	for process in "$1" $(grep -lx "PPid:	$1" /proc/[0-9]*/status 2>/dev/null |
		sed 's|/proc/||; s|/status||'); do
		if has_vcpu "$process"; then
			echo "$process"
			return
		fi
	done
}

# Of a second, since the host's start.
hundredths() {
	read -r up _ </proc/uptime
	echo "${up%.*}${up#*.}"
}

# signal_case NAME SIGNAL STATUS TESTS [OPTION ...]: the guest runs, the signal comes
signal_case() {
	case_begin "$1 while the guest $2" || return
	signal=$1
	status=$3
	append="test=$4"
	shift 4
	image disk.img
	timeout -k 5 $limit "$mvmm" run --kernel "$payloads/payload.elf" --no-default-append \
		--append "$append" --disk disk.img "$@" </dev/null >out 2>err &
	child=$!
	wait_said '# payload:'
	sleep 0.2
	begin=$(hundredths)
	kill -"$signal" $child
	wait $child
	got=$?
	[ $got = "$status" ] || problem "exit status $got instead of $status"
	took=$(($(hundredths) - begin))
	[ $took -lt $((${SLOW:+5}100 * ${SLOWNESS:-1})) ] || problem "it took $took hundredths of a second"
	case_end
}

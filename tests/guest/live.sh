# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Cases in which the control socket changes a disk while a payload guest works on it, for `run`: limits,
# sizes, errors. The guest says what it wants; see payload/test_live.c. After lib.sh and overlay.sh.
#
# shellcheck disable=SC2154 # what lib.sh sets

# ctl WORD ...: of the machine `m`
ctl() {
	"$mvmm" ctl m/ctl "$@" >said 2>&1 || problem "ctl $*: $(cat said)"
}

# obey COMMAND ...: with the words of each of the guest's lines `# ask`, until it has ended, or one could
# not be done. A line that ends in a full stop is whole: the console hands on what there is of it.
obey() {
	asked=0
	while kill -0 "$(cat m/timeout)" 2>/dev/null; do
		if [ -n "$problem" ]; then
			kill "$(cat m/timeout)"
			return
		fi
		wish=$(sed -n 's/\r$//; s/^# ask \(.*\)\.$/\1/p' m/out | sed -n "$((asked + 1))p")
		if [ -z "$wish" ]; then
			sleep 0.05
			continue
		fi
		asked=$((asked + 1))
		# shellcheck disable=SC2086 # several words
		"$@" $wish
		line_for m
	done
}

set_limit() {
	ctl disk limit vda "$2"
}

# limits_case DEPTH iops | bps SECTORS: a limit as the guest measures it, and changed under its load
limits_case() {
	case_begin "limited $2 at depth $1, $3 sectors" || return
	image disk.img
	machine m "test=limits depth=$1 limit=$2 sectors=$3" --disk disk.img
	obey set_limit
	machine_ended m
	cp m/out out
	image_is_right disk.img
	[ "$asked" -ge 6 ] || problem "limits were changed $asked times"
	case_end
}

# An emulated CPU that others take away now and then may need longer than all other cases together.
limits_cases() {
	if [ -n "${SLOW:-}" ] && [ -z "$only" ]; then
		tests=$((tests + 1))
		echo "ok $tests - limits # SKIP needs a CPU of its own here: tests/lab/with-kvm limited"
		return
	fi
	limits_case 1 iops 8
	limits_case 1 bps 64
	limits_case 32 bps 64
	limits_case 256 iops 8
}

set_size() {
	ctl disk resize vda "$2"
	[ "$(stat -c %s disk.img)" = "$2" ] || problem "the image has $(stat -c %s disk.img) bytes"
}

resized_case() {
	case_begin "resized, $1" || return
	transport_is "$1"
	image disk.img
	# shellcheck disable=SC2086 # several words
	machine m "test=sizes$(places 1)" $flags --disk disk.img
	obey set_size
	machine_ended m
	cp m/out out
	image_is_right disk.img
	[ "$asked" = 3 ] || problem "it was resized $asked times"
	case_end
}

# is_stopped N: for the N-th time, and all of the machine with it
is_stopped() {
	until [ "$(grep -c 'the VM waits for it' m/err)" -ge "$1" ] && ctl vm &&
		grep -q '^state  *paused' said; do
		if ! kill -0 "$(cat m/timeout)" 2>/dev/null; then
			problem "it was not stopped $1 times: $(cat said)"
			return 1
		fi
		sleep 0.05
	done
	grep -q '^reason  *disk ' said || problem "the reason is: $(cat said)"
}

# The end of the image is gone for a while.
stopped_case() {
	case_begin "stopped by an error and resumed, $1" || return
	transport_is "$1"
	image disk.img
	# shellcheck disable=SC2086 # several words
	machine m "test=stopped$(places 1)" $flags --disk disk.img
	if machine_said m 'ask for less'; then
		truncate -s 2M disk.img
		ctl disk on-error vda stop
		line_for m
		is_stopped 1 && ctl resume && is_stopped 2
		truncate -s 4M disk.img
		ctl resume
	fi
	machine_ended m
	cp m/out out
	image_is_right disk.img
	case_end
}

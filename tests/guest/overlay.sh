# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Cases about throw-away overlays, for `run`: many machines on one base, and what a start costs. After
# lib.sh.
#
# A start is measured by what does not depend on how busy this host is: the memory that belongs to the
# process alone, the bytes it has read, and the blocks its overlay takes, while the guest waits for a
# line, the first thing it does after a look at its disk. The time is told, and nothing more. (The
# system calls: tests/dataplane/test_overlay_start.c.)
#
# shellcheck disable=SC2154 # what lib.sh sets

# machine NAME COMMAND-LINE [OPTION ...]: the payload in the background, in a folder of its own, with a
# console that `line_for NAME` writes to and a control socket
machine() {
	folder=$1
	append=$2
	shift 2
	mkdir "$folder"
	mkfifo "$folder/in"
	: >"$folder/out"
	# Open for writing as well, it has no end before its time.
	timeout -k 5 $((3 * limit)) "$mvmm" run --kernel "$payloads/payload.elf" \
		--no-default-append --append "$append" --debug-exit --control "$folder/ctl" "$@" \
		0<>"$folder/in" >"$folder/out" 2>"$folder/err" &
	echo $! >"$folder/timeout"
}

line_for() {
	echo 1<>"$1/in" # opened so, it waits for no reader
}

# machine_said NAME TEXT
machine_said() {
	until grep -q -- "$2" "$1/out"; do
		if ! kill -0 "$(cat "$1/timeout")" 2>/dev/null; then
			problem "$1 did not say: $2: $(cat "$1/out" "$1/err")"
			return 1
		fi
		sleep 0.05
	done
}

# machine_ended NAME: well
machine_ended() {
	wait "$(cat "$1/timeout")"
	got=$?
	[ $got = 0 ] || problem "$1: exit status $got: $(cat "$1/err")"
	grep -q '^1\.\.[1-9]' "$1/out" || problem "$1 did not get to its end"
	! grep -E '^(not ok|Bail out)' "$1/out" >bad || problem "$1: $(cat bad)"
}

process_of() {
	process_below "$(cat "$1/timeout")"
}

# overlay_blocks PROCESS: of the file that has no name; 512 bytes each
overlay_blocks() {
	for fd in "/proc/$1/fd"/*; do
		case $(readlink "$fd") in
		"$work"/*"(deleted)") stat -L -c %b "$fd" ;;
		esac
	done
}

# start_costs NAME BASE SECTORS: a start on that base, into the file NAME.costs
start_costs() {
	from=$(hundredths)
	machine "$1" "test=begun,told capacity=$3" \
		--disk "$2,overlay=temp:$work" || return
	if machine_said "$1" 'waiting to be told'; then
		took=$(($(hundredths) - from))
		process=$(process_of "$1")
		{
			sed -n 's/^Anonymous: *\([0-9]*\) kB/memory \1/p' "/proc/$process/smaps_rollup"
			sed -n 's/^rchar: /bytes /p' "/proc/$process/io"
			echo "blocks $(overlay_blocks "$process")"
		} >"$1.costs"
		echo "# $1: $(tr '\n' ' ' <"$1.costs")took $took/100 s"
		line_for "$1"
	fi
	machine_ended "$1"
}

# no_dearer NAME THAN: what NAME's start has cost is what THAN's has
no_dearer() {
	awk '
		NR == FNR { than[$1] = $2; next }
		{
			slack = $1 == "memory" ? 256 : $1 == "bytes" ? 65536 : 0
			if (NF != 2 || !($1 in than) || $2 > than[$1] + slack)
				print $1, $2, "instead of", than[$1]
			n++
		}
		END { if (n != 3) print "not measured" }' "$2.costs" "$1.costs" >bad
	[ ! -s bad ] || problem "$1 costs more than $2: $(cat bad)"
}

# A start depends neither on how large the image is nor on what is in it.
overlay_sizes_case() {
	case_begin "a start with an overlay, whatever the size of the image" || return
	head -c 1048576 /dev/urandom >small
	if ! truncate -s $((8 << 40)) large 2>/dev/null; then
		truncate -s $((1 << 40)) large
		echo "# this filesystem has no files of 8 TiB"
	fi
	start_costs of-1M small 2048
	start_costs of-8T large $(($(stat -c %s large) / 512))
	no_dearer of-8T of-1M
	grep -q '^blocks 0$' of-8T.costs || problem "the overlay is not empty: $(cat of-8T.costs)"
	case_end
}

# The lab has one CPU: there a machine that waits is paused.
settled() {
	machine_said "$1" 'waiting to be told' || return
	[ -z "${SLOW:-}" ] || "$mvmm" ctl "$1/ctl" pause >said 2>&1 || problem "$(cat said)"
}

# ends NAME: it looks at all of its disk again
ends() {
	[ -z "${SLOW:-}" ] || "$mvmm" ctl "$1/ctl" resume >said 2>&1 || problem "$(cat said)"
	line_for "$1"
	machine_ended "$1"
}

# overlays_case N: machines with verified random writes of their own, on one base
overlays_case() {
	case_begin "$1 machines on one base" || return
	image base
	guest 0 test=fill --disk base
	guest_passed
	image_is_right base
	before=$(md5sum <base)
	start_costs first base 8192
	names=
	while [ "$(echo "$names" | wc -w)" -lt "$1" ]; do
		new=m$(echo "$names" | wc -w)
		names="$names $new"
		machine "$new" "test=irq,told,verify generation=1 seed=${new#m}1 ios=400" \
			--disk "base,overlay=temp:$work"
		[ -z "${SLOW:-}" ] || settled "$new"
	done
	[ -n "${SLOW:-}" ] || for each in $names; do settled "$each"; done
	start_costs last base 8192
	no_dearer last first
	for each in $names; do ends "$each"; done
	[ "$(cat m*/out | sed -n 's/^# md5 //p' | sort -u | wc -l)" = "$1" ] ||
		problem "two machines end with the same data"
	[ "$(md5sum <base)" = "$before" ] || problem "the base has changed"
	case_end
}

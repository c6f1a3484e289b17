# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# Cases in which a running machine is asked, paused and limited, for suite.sh, which has what they
# use.
#
# shellcheck disable=SC2154,SC2034 # what suite.sh sets

written() {
	./mvmm ctl --json "$dir/ctl" disk show vda | sed 's/.*"bytes_written":\([0-9]*\).*/\1/'
}

rate() {
	./mvmm ctl --json "$dir/ctl" disk show vda |
		sed 's/.*"rates":{[^}]*"bytes_written":\([0-9]*\)}.*/\1/'
}

# A disk at work while it is asked; a reset, and the same socket in the next boot; the end.
control() {
	blank "$dir/data.img" 16M
	linux cloud busy ""
	background --name lab --on-reboot restart --disk "$dir/data.img,serial=data"
	guest_done 1
	ctl "the VM says what it is" '^name  *lab' vm
	ctl "a disk is found by its serial" '^id  *vda' disk show data
	before=$(written)
	asked=0
	while [ $asked -lt 50 ] && ./mvmm ctl "$dir/ctl" metrics >"$dir/metrics"; do
		asked=$((asked + 1))
	done
	is "it answers as often as it is asked" $asked 50
	check "its metrics count the disk's requests" \
		grep -q 'mvmm_disk_requests_total{disk="vda",op="write"} [1-9]' "$dir/metrics"
	check "and its requests in flight" grep -q 'mvmm_disk_queue_depth{disk="vda"} [0-9]' "$dir/metrics"
	check "and how long they took" \
		grep -q 'mvmm_disk_latency_seconds_count{disk="vda",op="write"} [1-9]' "$dir/metrics"
	check "it says how fast the disk is" \
		awk "BEGIN { exit !($(rate) > 0) }"
	check "the disk went on meanwhile" [ "$(written)" -gt "$before" ]
	status=0
	./mvmm run --kernel "$kernel" --control "$dir/ctl" </dev/null 2>"$dir/second" || status=$?
	is "a second VM does not get the socket" $status 1
	check "and says why" grep -q 'another process listens there' "$dir/second"
	ctl "it pauses" '^paused' pause
	paused=$(written)
	sleep 1
	is "its disk is quiet then" "$(written)" "$paused"
	ctl "it is paused" '^state  *paused' vm
	ctl "it goes on" '^running' resume
	ctl "a reset is taken" 'being reset' reset
	guest_done 2
	ctl "the second boot has the same socket" '^state  *running' vm
	ctl "the end is taken" 'is ending' quit
	has_ended 0 quit
	check "the socket is gone" [ ! -e "$dir/ctl" ]
	linux cloud button ""
	background
	guest_done 1
	ctl "the power button is pressed" pressed power-button
	has_ended 0 poweroff
	check "its socket is gone, too" [ ! -e "$dir/ctl" ]
}

seen() {
	md5 <"$dir/data.img"
	written
	md5 <"$dir/console"
}

# One pause that is long for the guest's watchdogs, and nothing that moves meanwhile.
long_pause() {
	ctl "it pauses" '^paused' pause
	ctl "it says so" '^state  *paused' vm
	seen >"$dir/before"
	sleep 6
	seen >"$dir/after"
	check "image, counters and console stand still" cmp -s "$dir/before" "$dir/after"
	ctl "it goes on" '^running' resume
}

# Many pauses of a guest that verifies its I/O until it is told to end; then the end of one that is
# paused.
pausing() {
	blank "$dir/data.img" 16M
	linux cloud pause ""
	background --cpus 2 --disk "$dir/data.img"
	within_patience guest_said '# at work' 1
	long_pause
	pauses=0
	while [ $pauses -lt 40 ] && ./mvmm ctl "$dir/ctl" pause >/dev/null 2>&1 &&
		./mvmm ctl "$dir/ctl" resume >/dev/null 2>&1; do
		pauses=$((pauses + 1))
		usleep 200000 # both share one emulated CPU
	done
	is "pauses in a row" $pauses 40
	ctl "the guest is told to end" pressed power-button
	has_ended 0 poweroff
	on_host vda "$dir/data.img"

	linux cloud busy ""
	background --disk "$dir/data.img"
	guest_done 1
	ctl "it pauses" '^paused' pause
	kill -TERM "$pid"
	has_ended 143 signal
}

# A host without room for what the guest writes, first on a disk that has on-error= from the start,
# then on one that is given it while the VM is paused for the other: it stops, says why, and the guest
# sees nothing but time.
on_error() {
	small=$dir/small
	mkdir "$small"
	if ! mount -t tmpfs -o size=3m tmpfs "$small" 2>/dev/null; then
		ok "a full host # SKIP needs to be root"
		return
	fi
	patience=300
	blank "$small/data.img" 16M
	blank "$small/late.img" 16M
	linux cloud full ""
	open_input
	background --disk "$small/data.img,cache=writeback,on-error=enospc" \
		--disk "$small/late.img,cache=writeback"
	within_patience is_paused
	ctl "it is paused" '^state  *paused' vm
	ctl "and says why" "^reason  *disk '.*data.img': No space left on device" vm
	check "so does stderr" grep -q "make room, then: mvmm ctl $dir/ctl resume" "$dir/stderr"
	printf '\001c' >&3
	within_patience status_was_asked
	check "and Ctrl-A c" grep -q "paused, disk '.*data.img': No space left on device: " "$dir/stderr"
	ctl "it is resumed in vain" '^running' resume
	within_patience is_paused
	ctl "it is paused again" '^reason  *disk' vm
	ctl "the other disk reports errors" '^on_error  *report' disk show vdb
	ctl "it is to stop from now on" '^changed' disk on-error vdb stop
	ctl "as it says" '^on_error  *stop' disk show vdb
	mount -o remount,size=10m "$small"
	ctl "it is resumed with room for one" '^running' resume
	within_patience is_paused
	ctl "it is paused for the other" "^reason  *disk '.*late.img': No space left on device" vm
	mount -o remount,size=32m "$small"
	ctl "it is resumed with room for both" '^running' resume
	has_ended 0 poweroff
	on_host vda "$small/data.img"
	on_host vdb "$small/late.img"
	is "it was paused three times" "$(grep -c 'the VM waits for it; make room' "$dir/stderr")" 3
	patience=150
	close_input
	umount "$small"
}

status_was_asked() {
	grep -q 'Ctrl-A h shows the keys' "$dir/stderr"
}

is_paused() {
	./mvmm ctl --json "$dir/ctl" vm 2>/dev/null | grep -q '"state":"paused"'
}

# open_input: what goes to descriptor 3 is the console's input of the next VM in the background
open_input() {
	input=$dir/input
	mkfifo "$input"
	exec 3<>"$input"
}

close_input() {
	exec 3>&-
	input=/dev/null
}

# Limits as the guest measures them, which says what they are to be.
limits() {
	patience=900
	for disk in a b c; do
		blank "$dir/$disk.img" 32M
	done
	linux cloud limits ""
	open_input
	background --disk "$dir/a.img" --disk "$dir/b.img,group=pair" --disk "$dir/c.img,group=pair" \
		--disk tools.img,readonly
	changes=0
	while kill -0 "$pid" 2>/dev/null; do
		set_limit || usleep 100000
	done
	has_ended 0 poweroff
	check "limits were changed 19 times ($changes)" [ $changes -eq 19 ]
	close_input
	patience=150
}

# set_limit: as the guest's next line asks for, if there is one, and tells it so
set_limit() {
	wish=$(console | sed -n 's/^LIMIT \(.*\) \.$/\1/p' | sed -n $((changes + 1))p)
	[ -n "$wish" ] || return 1
	changes=$((changes + 1))
	# shellcheck disable=SC2086 # its words
	./mvmm ctl "$dir/ctl" disk limit $wish >"$dir/answer" 2>&1 || not_ok "$wish: $(cat "$dir/answer")"
	echo >&3
}

# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# Cases in which a disk is copied, lies in an overlay or gets another size while Linux uses it, for
# suite.sh, which has what they use.
#
# shellcheck disable=SC2154 # what suite.sh sets

# copied KIND STATE: waits until vda's mirror or backup is there
copied() {
	tries=0
	until ask disk "$1" status vda --json 2>/dev/null | grep -q "\"state\":\"$2\""; do
		tries=$((tries + 1))
		if [ $tries -ge 600 ] || ! kill -0 "$pid" 2>/dev/null; then
			not_ok "the $1 is $2"
			ask disk "$1" status vda | sed 's/^/# /'
			return 1
		fi
		usleep 100000
	done
}

# mirror: a backup and a mirror of a disk that fio writes and verifies all the while; the guest then
# goes on with the mirror, and boots from it
mirror() {
	patience=400
	blank "$dir/data.img" 32M
	blank "$dir/stop.img" 1M
	linux cloud mirror ""
	background --cpus 2 --disk "$dir/data.img" --disk "tools.img,readonly" --allow "$dir" --allow /dev
	said READY || return
	said "ROUND 1" || return
	obeyed "pause" pause
	sum=$(md5 <"$dir/data.img")
	obeyed "a backup" disk backup start vda "target=$dir/backup.img" speed=8M
	obeyed "resume" resume
	refused "a mirror beside it" 'there is a backup of it already' disk mirror start vda \
		"target=$dir/mirror.img"
	copied backup "done" || return
	is "the backup is the disk of that moment" "$(md5 <"$dir/backup.img")" "$sum"
	obeyed "a mirror" disk mirror start vda "target=$dir/mirror.img"
	copied mirror ready || return
	if ! obeyed "complete" disk mirror complete vda; then
		ask disk mirror status vda
		return
	fi
	sum=$(md5 <"$dir/data.img")
	ask disk mirror status vda | sed 's/^/# /'
	done=$(console | grep -c '^ROUND')
	said "ROUND $((done + 2))"
	is "the old image is not written any more" "$(md5 <"$dir/data.img")" "$sum"
	mirror_again
	obeyed "the end of it" disk add "path=$dir/stop.img"
	said DONE
	stopped
	ended 0 poweroff
	guest_says
	[ "$again" = "$dir/again.img" ] || losetup -d "$again"
	sum=$(console | sed -n 's/^SUM //p')
	is "the mirror holds what the guest has written" "$(md5 <"$dir/again.img")" "$sum"
	linux cloud mirrored "sum=$sum"
	boot --disk "$dir/again.img"
	ended 0 poweroff
	guest_says
}

# To a block device, where one is to be had; slowly at first, and then as fast as it goes. The guest is
# paused at the pivot, so that what both images hold can be looked at.
mirror_again() {
	blank "$dir/again.img" 32M
	again=$(losetup -f 2>/dev/null) && losetup "$again" "$dir/again.img" || again=$dir/again.img
	echo "# a mirror to $again"
	obeyed "a mirror of the mirror" disk mirror start vda "target=$again" speed=1M
	refused "a speed that is none" 'must be 0 or at least 1024' disk mirror speed vda speed=9
	obeyed "another speed" disk mirror speed vda speed=4M
	done=$(console | grep -c '^ROUND')
	said "ROUND $((done + 1))"
	obeyed "no limit" disk mirror speed vda speed=0
	copied mirror ready
	obeyed "pause" pause
	obeyed "complete" disk mirror complete vda
	check "both are the same at the pivot" cmp -s "$dir/mirror.img" "$dir/again.img"
	obeyed "resume" resume
	done=$(console | grep -c '^ROUND')
	said "ROUND $((done + 2))"
}

# full_target: the guest does not hear of it
full_target() {
	mkdir "$dir/full"
	mount -t tmpfs -o size=2m none "$dir/full" || return
	obeyed "a copy to a file system that is too small" disk backup start vda \
		"target=$dir/full/backup.img"
	copied backup failed
	ask disk backup status vda >"$dir/answer"
	check "it says of what it has failed" grep -q 'No space left' "$dir/answer"
	umount "$dir/full"
}

# backup: a disk with an overlay that fio writes and verifies all the while is written to new images:
# of one moment with the guest paused and beside its writes, and as the guest itself reads it at rest
backup() {
	patience=400
	pattern "$dir/data.img" $((32 << 20))
	blank "$dir/stop.img" 1M
	blank "$dir/end.img" 1M
	base=$(md5 <"$dir/data.img")
	linux cloud backup ""
	# Through the page cache: tmpfs, which is to be full, knows no direct I/O everywhere.
	background --cpus 2 --disk "$dir/data.img,overlay=temp:$dir,cache=writeback" \
		--disk "tools.img,readonly"
	said READY || return
	said "ROUND 1" || return
	refused "a mirror of it" 'no mirror of a disk with an overlay' disk mirror start vda \
		"target=$dir/paused.img"
	obeyed "pause" pause
	obeyed "a commit" disk commit vda "target=$dir/paused.img"
	copied commit "done" || return
	obeyed "a slow backup" disk backup start vda "target=$dir/beside.img" speed=2M
	obeyed "resume" resume
	copied backup "done" || return
	ask disk backup status vda | sed 's/^/# /'
	check "what is written beside it is not in it" cmp -s "$dir/paused.img" "$dir/beside.img"
	full_target
	done=$(console | grep -c '^ROUND')
	said "ROUND $((done + 2))"
	obeyed "the end of the writes" disk add "path=$dir/stop.img"
	said 'SUM .*'
	obeyed "another commit" disk commit vda "target=$dir/rest.img"
	copied commit "done" || return
	is "it is what the guest reads" "$(md5 <"$dir/rest.img")" "$(console | sed -n 's/^SUM //p')"
	obeyed "a backup that will take long" disk backup start vda "target=$dir/cut.img" speed=64K
	obeyed "the end of it" disk add "path=$dir/end.img"
	said DONE
	stopped
	ended 0 poweroff
	check "it is said that the backup is not whole" grep -q "'$dir/cut.img' is not whole" "$dir/stderr"
	guest_says
	is "the base was read and no more" "$(md5 <"$dir/data.img")" "$base"
}

# The overlay of the machine that `pid` is: the one file it holds that has no name.
overlay_file() {
	for fd in "/proc/$pid/fd"/*; do
		case $(readlink "$fd") in
		"$dir"/*"(deleted)") echo "$fd" ;;
		esac
	done
}

overlay_kib() {
	echo $(($(stat -L -c %b "$(overlay_file)") / 2))
}

# Which files are synced meanwhile, by whatever call: ext4 says so to whoever may ask.
trace_syncs() {
	tracing=/sys/kernel/debug/tracing
	if echo "$1" 2>/dev/null >$tracing/events/ext4/ext4_sync_file_enter/enable; then
		[ "$1" = 0 ] || : >$tracing/trace
	else
		tracing=
	fi
}

# syncs_of INODE
syncs_of() {
	grep -c "ext4_sync_file_enter: .* ino $1 " "$tracing/trace"
}

# One of two machines on a base, in a folder of its own.
overlay_machine() {
	dir=$work/$case/$1
	mkdir "$dir"
	blank "$dir/raw.img" 1M
	linux cloud overlay "sum=$2 at=$3"
	background --disk "$work/$case/base.img,overlay=temp:$dir" --disk "$dir/raw.img"
	eval "pid_$1=$pid"
}

# overlay_turn NAME: `dir` and `pid` are that machine's from now on
overlay_turn() {
	dir=$work/$case/$1
	eval "pid=\$pid_$1"
}

overlay_is_written() {
	overlay_turn "$1"
	within_patience guest_said '# written' 1
	kib=$(overlay_kib)
	check "$1: its overlay has what was written, and little else ($kib KiB)" \
		[ $((kib >= 3072 && kib < 4608)) = 1 ]
	stat -L -c %i "$(overlay_file)" >"$dir/inode"
	ctl "$1: it is told to go on" pressed power-button
}

overlay_is_discarded() {
	overlay_turn "$1"
	within_patience guest_said '# discarded' 1
	kib=$(overlay_kib)
	check "$1: its overlay has given it back ($kib KiB left)" [ "$kib" -le 256 ]
	ctl "$1: it is told to end" pressed power-button
	has_ended 0 poweroff
	console | sed -n 's/^SUM vda 0 2 //p' >"$dir/sum"
	if [ -n "$tracing" ]; then
		is "$1: its overlay was never synced" "$(syncs_of "$(cat "$dir/inode")")" 0
		check "$1: a disk without one was" \
			[ "$(syncs_of "$(stat -c %i "$dir/raw.img")")" -ge 8 ]
	fi
	rm -f "$dir/raw.img"
	[ -z "$failed" ] || evidence
}

# overlay: two machines at once on one base, each of which finds it as it is, writes at the same place
# and at its own, syncs, and discards all.
overlay() {
	patience=600 # both share one emulated CPU
	pattern "$dir/base.img" $((8 << 20))
	base_sum=$(md5 <"$dir/base.img")
	trace_syncs 1
	overlay_machine a "$base_sum" 4
	overlay_machine b "$base_sum" 6
	overlay_is_written a
	overlay_is_written b
	overlay_is_discarded a
	overlay_is_discarded b
	trace_syncs 0
	dir=$work/$case
	check "they wrote different things to the same place" \
		[ "$(cat "$dir/a/sum")" != "$(cat "$dir/b/sum")" ]
	is "the base is as it was" "$(md5 <"$dir/base.img")" "$base_sum"
	[ -z "$tracing" ] || is "and was never synced" "$(syncs_of "$(stat -c %i "$dir/base.img")")" 0
}

# resize: up and down under a guest that uses what it gets and verifies what stays
resize() {
	patience=600
	sizes=48,24,40,16,36
	blank "$dir/data.img" 32M
	blank "$dir/device.img" 8M
	loop=$(losetup -f 2>/dev/null)
	losetup "$loop" "$dir/device.img" 2>/dev/null || loop=
	linux cloud resize "sizes=$sizes device=$loop"
	background --cpus 2 --disk "$dir/data.img" --disk "tools.img,readonly" ${loop:+--disk "$loop"}
	step=0
	for mib in $(echo $sizes | tr , ' '); do
		step=$((step + 1))
		said "STEP $step" $patience || break
		obeyed "$mib MiB" disk resize vda "${mib}M" || break
		is "its file has $mib MiB" "$(($(wc -c <"$dir/data.img") >> 20))" "$mib"
	done
	refused "a size of the tools, which are read-only" 'only follows its file' disk resize vdb 512M
	if [ -z "$loop" ]; then
		ok "a device's size is followed # SKIP needs root and a loop device"
	elif said "STEP device" $patience; then
		refused "a size of a device, which has its own" 'only follows' disk resize vdc 12M
		truncate -s 12M "$dir/device.img"
		losetup -c "$loop"
		obeyed "a device's size is followed" disk resize vdc
	fi
	stopped
	[ -z "$loop" ] || losetup -d "$loop"
	ended 0 poweroff
	on_host vda "$dir/data.img"
}

# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# Cases in which disks come and go while Linux runs, for suite.sh, which has what they use. What the
# guest does is in guest/hotplug.sh.
#
# shellcheck disable=SC2154,SC2086 # what suite.sh sets, numbers without spaces among it

# with_partition FILE MIB: random data in one partition from MiB 1 on
with_partition() {
	pattern "$1" $(($2 << 20))
	{
		dd if=/dev/zero bs=446 count=1 2>/dev/null
		# type 83, first sector 2048, the sectors that follow
		sectors=$((($2 - 1) * 2048))
		printf '\000\000\000\000\203\000\000\000\000\010\000\000'
		for shift in 0 8 16 24; do
			printf '%b' "\\0$(printf %o $((sectors >> shift & 255)))"
		done
		dd if=/dev/zero bs=48 count=1 2>/dev/null
		printf '\125\252'
	} >"$dir/mbr"
	dd if="$dir/mbr" of="$1" conv=notrunc 2>/dev/null
}

# The memory that it really has, in KiB, without mappings of 64 MiB and more: the guest's.
resident() {
	awk '$1 == "Size:" { guest = $2 >= 65536 }
		$1 == "Pss:" && !guest { kib += $2 }
		END { print kib }' /proc/$pid/smaps
}

# hotplug_begin KERNEL ARGUMENT...: a guest for $rounds rounds, with two disks that it works on; and for one
# more, so that it is there to be looked at after the last of them
hotplug_begin() {
	linux "$1" hotplug "rounds=$((rounds + 1))"
	shift
	blank "$dir/data.img" 16M
	with_partition "$dir/still.img" 16
	[ -e "$dir/round.img" ] || with_partition "$dir/round.img" 4
	background "$@" --disk "$dir/data.img" --disk "$dir/still.img"
	said READY
}

hotplug_end() {
	[ -n "$failed" ] || hotplug_round $((rounds + 1)) "$dir/round.img"
	said DONE
	stopped
	ended 0 poweroff
	check "the control socket's file is gone" [ ! -e "$dir/ctl" ]
}

# gone N: the disk of a round is the guest's no more, and none of the VM's. A machine that is too slow for
# the time that a request has is waited for, and not asked again: it may not forget what it was asked.
gone() {
	if ! ask disk remove "round-$1" >"$dir/answer" 2>&1 && ! grep -qF '(504)' "$dir/answer"; then
		not_ok "round $1: remove"
		sed 's/^/# /' "$dir/answer"
		return 1
	fi
	said "GONE $1 .*" || return
	tries=0
	while ask disk show "round-$1" >"$dir/answer" 2>&1; do
		tries=$((tries + 1))
		if [ $tries -ge 60 ]; then
			not_ok "round $1: the disk has been removed"
			return 1
		fi
		sleep 1
	done
}

# hotplug_round N PATH: a disk comes, which is round.img, is scanned, read and written, and goes
hotplug_round() {
	./diskio "$dir/round.img" "put=4,$1"
	obeyed "round $1: add" disk add "path=$2" "serial=round-$1" || return
	said "USED $1 round-$1" || return
	gone "$1" || return
	./diskio "$dir/round.img" "check=12,1$1" || not_ok "round $1: what was written is in the image"
	[ $(($1 % 4)) -ne 0 ] || said "STOOD $1 .*"
}

# How often per second the other disks have worked, in the median round, by what the guest says: while
# a disk came and went, and while one was used that stays. Guest and host share the CPU with what they do
# for the disk that comes, so this shows a disk that is held up for most of a round, and that many rounds
# in a row do it no harm; that no step of main's is waited for at all is test_plug_load's.
paces() {
	console | awk '
	function median(of, n,    i, j, swap) {
		for (i = 2; i <= n; i++)
			for (j = i; j > 1 && of[j] < of[j - 1]; j--) {
				swap = of[j]
				of[j] = of[j - 1]
				of[j - 1] = swap
			}
		return of[int((n + 1) / 2)]
	}
	function pace() { return 100 * ($4 + $5 - laps) / ($3 - time + 1) }
	$1 == "BEGIN" || $1 == "STILL" { time = $3; laps = $4 + $5 }
	$1 == "GONE" { coming[++n] = pace() }
	$1 == "STOOD" { staying[++m] = pace() }
	END { printf "%d %d\n", median(coming, n), median(staying, m) }'
}

# hotplug KERNEL CPUS: a disk comes and goes over and over, two others are busy all the while
hotplug() {
	rounds=${HOTPLUG_ROUNDS:-8}
	patience=$((200 + 30 * rounds))
	if [ ! -e "$1.vmlinuz" ]; then
		ok "disks come and go # SKIP there is no kernel $1"
		return
	fi
	hotplug_begin "$1" --cpus "$2" || return
	round=0
	early=0
	while [ $round -lt "$rounds" ] && [ -z "$failed" ]; do
		round=$((round + 1))
		hotplug_round $round "$dir/round.img"
		[ $round -ne 2 ] || holdings $pid >"$dir/early"
		[ $round -ne 2 ] || early=$(resident)
	done
	check "$rounds rounds of add, scan, I/O and remove" [ -z "$failed" ]
	holdings $pid >"$dir/late"
	late=$(resident)
	is "descriptors, threads and address space are as after two rounds" "$(cat "$dir/late")" \
		"$(cat "$dir/early")"
	check "so is its memory ($early KiB, then $late)" [ "$late" -le $((early + 64)) ]
	hotplug_end
	paces >"$dir/paces"
	read -r coming staying <"$dir/paces"
	echo "# other disks: $coming laps a second while one comes and goes, $staying otherwise"
	[ "$rounds" -lt 50 ] || check "other disks keep their pace" [ $((2 * coming)) -ge "$staying" ]
}

# hotplug_block: a block device of the host comes and goes
hotplug_block() {
	rounds=2
	with_partition "$dir/round.img" 4
	loop=$(losetup -f 2>/dev/null)
	if ! losetup "$loop" "$dir/round.img" 2>/dev/null; then
		ok "a block device comes and goes # SKIP needs root and a loop device"
		return
	fi
	hotplug_begin cloud --allow "$dir" --allow /dev || return
	hotplug_round 1 "$loop"
	holdings $pid >"$dir/early"
	hotplug_round 2 "$loop"
	holdings $pid >"$dir/late"
	is "nothing is left of it" "$(cat "$dir/late")" "$(cat "$dir/early")"
	losetup -d "$loop"
	check "nobody has it open" [ ! -e "/sys/block/${loop#/dev/}/loop/backing_file" ]
	hotplug_end
}

# hotplug_refusals: what cannot be added or removed, and that nothing is left of the attempt
hotplug_refusals() {
	blank "$dir/data.img" 4M
	blank "$dir/more.img" 4M
	blank "$dir/locked.img" 4M
	mkdir "$dir/folder"
	ln -s /etc/passwd "$dir/link"
	# Whoever runs holds a lock: without a test to sleep in Linux would panic and end.
	linux cloud sleep ""
	./mvmm run --kernel "$kernel" --initrd "$initrd" --append "$append" --console none \
		--timeout $patience --disk "$dir/locked.img" </dev/null 2>/dev/null &
	locker=$!
	linux cloud hotplug "rounds=0"
	background --disk "$dir/data.img,serial=first"
	said READY || return
	refused "a file that is not there" 'cannot open: No such file' disk add "path=$dir/none.img"
	holdings $pid >"$dir/early"
	refused "a missing file" 'cannot open: No such file' disk add "path=$dir/none.img"
	refused "a folder" 'is a directory' disk add "path=$dir/folder"
	refused "a file outside of the folders" 'not in a folder' disk add path=/etc/passwd
	refused "a way out of the folder" 'not in a folder' disk add "path=$dir/../../suite.sh"
	refused "a link out of the folder" 'not in a folder' disk add "path=$dir/link"
	refused "the same image" 'the same image as disk' disk add "path=$dir/data.img"
	refused "the same serial" "has the serial 'first' already" disk add "path=$dir/more.img" \
		serial=first
	check "the image's other user is there" kill -0 $locker
	refused "a locked image" 'is locked by another process' disk add "path=$dir/locked.img"
	refused "an engine that cannot be" "goes with cache=none only" disk add \
		"path=$dir/more.img" aio=native cache=writeback
	refused "a disk that is not there" "there is no disk 'vdb'" disk remove vdb
	holdings $pid >"$dir/late"
	is "nothing is left of all this" "$(cat "$dir/late")" "$(cat "$dir/early")"
	kill $locker
	wait $locker
	obeyed "a disk whose image is no longer locked" disk add "path=$dir/locked.img"
	obeyed "end" quit
	stopped
	exited 0 quit
}

# hotplug_full: 31 disks, and what becomes of the next
hotplug_full() {
	linux cloud hotplug "rounds=0"
	blank "$dir/1.img" 1M
	background --disk "$dir/1.img"
	said READY || return
	i=2
	while [ $i -le 31 ] && [ -z "$failed" ]; do
		blank "$dir/$i.img" ${i}M
		obeyed "add disk $i" disk add "path=$dir/$i.img" "serial=disk-$i" queues=1 aio-depth=16
		i=$((i + 1))
	done
	blank "$dir/32.img" 1M
	holdings $pid >"$dir/early"
	refused "one disk too many" 'no room for more than 31 disks' disk add "path=$dir/32.img"
	holdings $pid >"$dir/late"
	is "nothing is left of it" "$(cat "$dir/late")" "$(cat "$dir/early")"
	said "DISKS 31"
	obeyed "remove one of them" disk remove disk-17
	said "DISKS 30"
	obeyed "its slot is free" disk add "path=$dir/32.img"
	said "DISKS 31"
	obeyed "end" quit
	stopped
	exited 0 quit
}

# hotplug_used: disks that the guest is busy with go nevertheless, and nothing hangs
hotplug_used() {
	blank "$dir/data.img" 16M
	blank "$dir/fs.img" 32M
	blank "$dir/load.img" 32M
	linux cloud hotplug_used ""
	background --cpus 2 --disk "$dir/data.img"
	said READY || return
	obeyed "add a disk for a filesystem" disk add "path=$dir/fs.img" serial=fs
	said MOUNTED || return
	obeyed "remove a mounted disk" disk remove fs
	said UNMOUNTED || return
	obeyed "add a disk to be loaded" disk add "path=$dir/load.img" serial=load
	said LOADED || return
	obeyed "remove a disk under load" disk remove load
	said DONE
	stopped
	ended 0 poweroff
}

# hotplug_forced: a guest that does not listen
hotplug_forced() {
	blank "$dir/data.img" 16M
	blank "$dir/more.img" 16M
	linux cloud hotplug_forced ""
	append="$append acpiphp.disable=1"
	background --disk "$dir/data.img" --disk "$dir/more.img,serial=more"
	said READY || return
	holdings $pid >"$dir/early"
	obeyed "a disk is taken away" disk remove more force-after-ms=500
	check "which is said" grep -q 'has not given it up: taken away' "$dir/stderr"
	said DONE
	guest_says
	obeyed "its image can be used again" disk add "path=$dir/more.img"
	holdings $pid >"$dir/late"
	# Not memory: the heap may grow once. That it does not go on is for those with many rounds.
	is "descriptors and threads are as before" "$(head -n 2 "$dir/late")" \
		"$(head -n 2 "$dir/early")"
	obeyed "end" quit
	stopped
	exited 0 quit
}

# hotplug_restart: what came is there after a reset of the guest, and what went is not
hotplug_restart() {
	blank "$dir/data.img" 1M
	blank "$dir/gone.img" 1M
	blank "$dir/late.img" 4M
	linux cloud hotplug_restart ""
	background --on-reboot restart --disk "$dir/data.img" --disk "$dir/gone.img,serial=gone"
	said "BOOT 1 gone" || return
	obeyed "remove one of the command line" disk remove gone
	obeyed "add another" disk add "path=$dir/late.img" serial=late
	said "BOOT 2 late" && said CHECKED || return
	ask disk remove late >"$dir/answer" 2>&1 # which the guest answers by a reset
	said "BOOT 3" || return
	stopped
	ended 0 poweroff
}

works_on() {
	[ "$(written)" -gt $((before + 40960)) ]
}

held() {
	[ "$(tr -d ' ' <"$dir/held")" -ge "$1" ]
}

two_disks() {
	[ "$(ask disk list --json | grep -o '"id"' | wc -l)" = 2 ]
}

# slow_storage: dead.img shows image.img, until it is told to stop; see ../guest/slowdisk.c
slow_storage() {
	blank "$dir/image.img" 4M
	./diskio "$dir/image.img" put=4,7
	: >"$dir/dead.img"
	: >"$dir/held"
	./slowdisk "$dir/image.img" "$dir/dead.img" "$dir/held" &
	storage=$!
	within_patience [ -s "$dir/held" ]
}

# loaded N: the disk is added for the N-th time, and has 128 requests in flight
loaded() {
	obeyed "add" disk add "path=$dir/dead.img" serial=dead || return
	said "FOUND $1" || return
	within_patience works_on
	kill -USR1 $storage
	within_patience held 128
	check "128 requests are in flight" held 128
}

# Everything else goes on meanwhile, and says what is the matter.
dead_storage() {
	refused "taken away from the guest it waits for its storage" 'waits for its storage' \
		disk remove dead force-after-ms=500
	check "that it was taken is said" grep -q 'has not given it up: taken away' "$dir/stderr"
	refused "to ask once more" 'has been given up and still drains' disk remove dead
	refused "to add it again" 'the same image as disk' disk add "path=$dir/dead.img"
	before=$(written)
	within_patience works_on
	check "the other disk works on" works_on
}

# hotplug_dead: a disk is removed with 128 requests in flight on storage that answers later: by the guest's
# leave, and without. When it answers, everything is given back.
hotplug_dead() {
	if [ ! -w /dev/fuse ] || [ "$(id -u)" -ne 0 ]; then
		ok "a disk with dead storage # SKIP needs root and /dev/fuse"
		return
	fi
	slow_storage
	blank "$dir/data.img" 16M
	linux cloud hotplug_dead ""
	background --cpus 2 --disk "$dir/data.img" --disk tools.img,readonly
	said READY || return
	holdings $pid | head -n 2 >"$dir/early"
	before=$(written)
	loaded 1 || return
	ask disk remove dead >"$dir/answer" 2>&1 &
	asking=$!
	sleep 1
	check "it is not gone with requests in flight" kill -0 $asking
	kill -USR2 $storage
	check "it is when they have ended" wait $asking
	said "GONE 1" || return
	before=$(written)
	loaded 2 || return
	dead_storage
	kill -USR2 $storage
	said "GONE 2"
	within_patience two_disks
	check "it is gone when storage answers" two_disks
	holdings $pid | head -n 2 >"$dir/late"
	is "nothing is left of it" "$(cat "$dir/late")" "$(cat "$dir/early")"
	obeyed "end" quit
	stopped
	exited 0 quit
	umount "$dir/dead.img"
	wait $storage
}

# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# Disks that are copied, lie in an overlay or get another size while a guest uses them, sourced by
# its init. ../changes.sh does it.

# ---- a disk that is copied meanwhile

# verify_round SIZE: of verified writes to vda's first SIZE bytes, other ones in each $round
verify_round() {
	set -- --name=verify --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=32 \
		--rw=randwrite --bsrange=4k-64k --size="$1" --verify=crc32c --do_verify=1 \
		--verify_fatal=1 --randseed="$round"
	/mnt/ld.so --library-path /mnt/lib /mnt/fio "$@" >/tmp/fio 2>&1 ||
		echo "not ok - round $round: fio finds what it wrote"
}

# Verified writes to vda until a third disk comes.
verified_rounds() {
	mount -t ext4 -o ro /dev/vdb /mnt || return
	dmesg -c >/dev/null
	echo READY
	round=0
	until [ -e /sys/block/vdc ]; do
		round=$((round + 1))
		verify_round 24M
		echo "ROUND $round"
	done
	echo "SUM $(dd if=/dev/vda bs=1M iflag=direct 2>/dev/null | md5sum | cut -d ' ' -f 1)"
}

test_mirror() {
	verified_rounds
	no_trouble
}

# At rest until a fourth comes.
test_backup() {
	verified_rounds
	until [ -e /sys/block/vdd ]; do
		usleep 100000
	done
	no_trouble
}

test_mirrored() {
	is "all that was written is there" \
		"$(dd if=/dev/vda bs=1M iflag=direct 2>/dev/null | md5sum | cut -d ' ' -f 1)" "$(option sum)"
}

# ---- a disk whose writes go to an overlay

sum_of() {
	dd if=/dev/vda bs=1M skip="$1" count="$2" iflag=direct 2>/dev/null | md5sum | cut -d ' ' -f 1
}

# syncs N DISK: that many, each after a write
syncs() {
	i=0
	while [ $i -lt "$1" ]; do
		i=$((i + 1))
		dd if=/dev/urandom of="/dev/$2" bs=4k count=1 seek=$i conv=fsync,notrunc 2>/dev/null ||
			return
	done
}

# The host looks at the overlay where it presses the button.
test_overlay() {
	at=$(option at)
	is "all of the base is there" "$(sum_of 0 8)" "$(option sum)"
	check "vda: data is there after dropping caches" written vda 0 2 >/tmp/sums
	check "vda: and elsewhere" written vda "$at" 1 >>/tmp/sums
	cat /tmp/sums
	check "vda: syncs" syncs 8 vda
	check "vdb: syncs" syncs 8 vdb
	mine=$(sum_of 0 8)
	echo "# written"
	wait_button 1
	is "all is as it was left, whatever others write" "$(sum_of 0 8)" "$mine"
	check "all is discarded" blkdiscard -l $((8 << 20)) /dev/vda
	is "and reads as zeroes" "$(sum_of 0 8)" \
		"$(head -c $((8 << 20)) /dev/zero | md5sum | cut -d ' ' -f 1)"
	echo "# discarded"
	wait_button 2
	no_trouble
}

# ---- a disk that becomes larger and smaller

# Verified writes to what is never cut, and reads of all that there is, up to an end that moves.
at_work() {
	round=0
	while [ ! -e /tmp/stop ]; do
		round=$((round + 1))
		verify_round 12M
	done
	echo "# $round rounds of fio"
}

reads_all() {
	while [ ! -e /tmp/stop ]; do
		dd if=/dev/vda of=/dev/null bs=256k iflag=direct 2>/dev/null
	done
}

# is_now DISK MIB: once it is
is_now() {
	until [ "$(cat "/sys/block/$1/size")" = $(($2 * 2048)) ]; do
		usleep 50000
	done
}

# data MIB: bytes from there on, of 2 MiB, that are not zero
data() {
	dd if=/dev/vda bs=1M skip="$1" count=2 iflag=direct 2>/dev/null | tr -d '\0' | wc -c
}

# The failed sectors of those dd that had been sent when the end came nearer.
failed_sectors() {
	dmesg | sed -n 's/.*I\/O error, dev vda, sector \([0-9]*\) .*/\1/p'
}

test_resize() {
	mount -t ext4 -o ro /dev/vdb /mnt || return
	dmesg -c >/dev/null
	at_work &
	jobs=$!
	reads_all &
	jobs="$jobs $!"
	before=32
	step=0
	for mib in $(option sizes | tr , ' '); do
		step=$((step + 1))
		echo "# at $(cut -d ' ' -f 1 /proc/uptime)"
		echo "STEP $step"
		is_now vda "$mib"
		[ "$mib" -lt "$before" ] || is "$before to $mib MiB: what is new is empty" \
			"$(data "$before") $(data $((mib - 2)))" "0 0"
		check "$mib MiB: the last of them take data" written vda $((mib - 4)) 4 >/tmp/last
		grep ' - ' /tmp/last
		is "$mib MiB: there is nothing to read beyond" \
			"$(dd if=/dev/vda bs=4k skip=$((mib << 8)) count=1 iflag=direct 2>/dev/null | wc -c)" 0
		check "$mib MiB: and a write there fails" not \
			dd if=/dev/zero of=/dev/vda bs=4k seek=$((mib << 8)) count=1 oflag=direct 2>/dev/null
		before=$mib
	done
	: >/tmp/stop
	# shellcheck disable=SC2086 # several
	wait $jobs
	if [ -n "$(option device)" ]; then
		echo "STEP device"
		is_now vdc 12
		check "what a device of the host has become takes data" written vdc 8 4 >/tmp/device
		grep ' - ' /tmp/device
	fi
	grep SUM /tmp/last
	is "no request failed but beyond the nearest end" \
		"$(failed_sectors | awk '$1 < 16 * 2048')" ''
	none "nothing was lost" 'nobody cared|Spurious|virtio.*fail|timed out|blocked for more|BUG'
}

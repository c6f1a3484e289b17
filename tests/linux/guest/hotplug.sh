# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# Disks that come and go, as a guest sees it, sourced by its init. ../hotplug.sh does it.

# appears FILE, disappears FILE: within half a minute
appears() {
	tries=0
	until [ -e "$1" ]; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || return 1
		usleep 50000
	done
}

disappears() {
	tries=0
	while [ -e "$1" ]; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || return 1
		usleep 50000
	done
}

# When (in hundredths of a second), and how often vda and vdb have worked by then.
laps() {
	read -r up _ </proc/uptime
	read -r vda_laps </tmp/vda.laps
	read -r vdb_laps </tmp/vdb.laps
	echo "${up%.*}${up#*.} $vda_laps $vdb_laps"
}

# The host has put N into the first piece of the partition, and will look for 1N in its ninth.
one_round() {
	echo "BEGIN $1 $(laps)"
	diskio /dev/vdc1 await "check=0,$1" "put=8,1$1" "check=8,1$1" || return
	echo "USED $1 $(cat /sys/block/vdc/serial)"
	diskio /sys/block/vdc gone || return
	echo "GONE $1 $(laps)"
}

# The same with a disk that stays, to compare with.
still_round() {
	echo "STILL $1 $(laps)"
	diskio /dev/vdb1 await "put=0,$1" "check=0,$1" "put=8,1$1" "check=8,1$1" || return
	cat /sys/block/vdb/serial >/dev/null
	echo "STOOD $1 $(laps)"
}

count_disks() {
	while :; do
		echo "DISKS $(grep -c ' vd[a-z]*$' /proc/partitions)"
		usleep 500000
	done
}

test_hotplug() {
	rounds=$(option rounds)
	if [ "$rounds" -eq 0 ]; then
		echo READY
		count_disks
	fi
	dmesg -c >/dev/null
	diskio /dev/vda pace=/tmp/vda.laps &
	load=$!
	diskio /dev/vdb pace=/tmp/vdb.laps &
	load="$load $!"
	appears /tmp/vda.laps && appears /tmp/vdb.laps
	echo READY
	round=0
	while [ $round -lt "$rounds" ]; do
		round=$((round + 1))
		one_round $round || echo "not ok - round $round"
		[ $((round % 4)) -ne 0 ] || still_round $round || echo "not ok - still in round $round"
	done
	# shellcheck disable=SC2086 # two numbers
	kill $load || echo "not ok - the other disks are at work to the end"
	none "the kernel has no complaint" 'BUG|cut here|hung|blocked for more|I/O error'
}

test_hotplug_used() {
	dmesg -c >/dev/null
	echo READY
	appears /dev/vdb
	mke2fs -b 4096 /dev/vdb >/dev/null 2>&1 && mount -t ext4 /dev/vdb /mnt && echo hello >/mnt/a &&
		sync || echo "not ok - a filesystem on a disk that came late"
	echo MOUNTED
	disappears /sys/block/vdb || echo "not ok - the mounted disk disappears"
	! { dd if=/dev/zero of=/mnt/b bs=64k count=64 && sync -f /mnt/b && cat /mnt/b; } \
		>/dev/null 2>&1 || echo "not ok - its filesystem sees errors"
	umount /mnt || umount -l /mnt
	echo UNMOUNTED
	appears /dev/vdb
	for job in 0 1 2 3 4 5 6 7; do
		while dd if=/dev/vdb of=/dev/null bs=128k count=16 skip=$job iflag=direct 2>/dev/null; do
			:
		done &
	done
	sleep 1
	echo LOADED
	disappears /sys/block/vdb || echo "not ok - the loaded disk disappears"
	wait
	written vda 4 2 || echo "not ok - vda works on"
	none "nothing hangs, nothing is broken" 'BUG|cut here|hung task|blocked for more'
}

# A disk whose storage stops answering with 128 requests in flight, twice: they do not end, and so its
# driver cannot let it go. No two of them are neighbours, which would be one.
test_hotplug_dead() {
	mount -t ext4 -o ro /dev/vdb /mnt || return
	diskio /dev/vda pace=/tmp/vda.laps &
	echo READY
	for time in 1 2; do
		diskio /dev/vdc await check=4,7 || echo "not ok - there is a disk"
		/mnt/ld.so --library-path /mnt/lib /mnt/fio --thread --name=load --filename=/dev/vdc --direct=1 \
			--ioengine=libaio --iodepth=128 --rw=randread --bs=4k --blockalign=8k \
			--time_based --runtime=1000 >/tmp/fio 2>&1 &
		echo "FOUND $time"
		diskio /sys/block/vdc gone
		# Its name is free when nobody has it open.
		kill -KILL $!
		wait $!
		echo "GONE $time"
	done
	sleep 1000
}

# The host removes and adds; vda counts the boots.
test_hotplug_restart() {
	boot=$(head -c 1 /dev/vda | tr -dc 1-9)
	boot=$((boot + 1))
	printf %s $boot | dd of=/dev/vda conv=fsync,notrunc 2>/dev/null
	# shellcheck disable=SC2046 # vda has no serial
	echo "BOOT $boot" $(cat /sys/block/vd*/serial)
	case $boot in
	1)
		until [ "$(cat /sys/block/vdb/serial 2>/dev/null)" = late ]; do
			usleep 50000
		done
		diskio /dev/vdb await put=2,5 && reboot -f
		;;
	2)
		check "its data is there in the next boot" diskio /dev/vdb await check=2,5
		echo CHECKED
		diskio /sys/block/vdb gone && reboot -f
		;;
	esac
}

test_hotplug_forced() {
	echo READY
	# A driver that is not told finds out when its next request is not answered: nobody waits here.
	tries=0
	while [ $tries -lt 100 ] && [ "$(setting 2)" != ffffffff ]; do
		tries=$((tries + 1))
		usleep 100000
	done
	is "the slot looks empty" "$(setting 2)" ffffffff
	check "vda works on" written vda 4 2
	echo DONE
	sleep 1000
}

# setting SLOT: vendor and device, as configuration space has them
setting() {
	hexdump -n 4 -e '"%08x"' "/sys/bus/pci/devices/0000:00:0$1.0/config"
}

# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# What a test guest looks at, sourced by its init. The disks and their sizes are those that
# ../suite.sh attaches. Lines `SUM DISK MIB COUNT MD5` say what COUNT MiB from MIB on of a disk must
# read as on the host.

# check DESCRIPTION COMMAND...
check() {
	what=$1
	shift
	if "$@"; then
		echo "ok - $what"
	else
		echo "not ok - $what"
	fi
}

# is DESCRIPTION GOT WANTED
is() {
	if [ "$2" = "$3" ]; then
		echo "ok - $1"
	else
		echo "not ok - $1"
		echo "# got '$2', wanted '$3'"
	fi
}

not() {
	! "$@"
}

kernel_says() {
	dmesg | grep -qE "$1"
}

# none DESCRIPTION PATTERN: no kernel message matches
none() {
	dmesg | grep -E "$2" >/tmp/found
	is "$1" "$(cat /tmp/found)" ''
}

bootloader() {
	cat /proc/sys/kernel/bootloader_type
}

# ---- the machine

test_machine() {
	cpus=$(option cpus)
	is "$cpus CPUs are up" "$(nproc)" "$cpus"
	check "the APIC is used in x2APIC mode" \
		kernel_says 'Switched APIC routing to .*x2apic|x2apic: enabled by BIOS'
	check "kvm-clock is used" kernel_says 'kvm-clock: using sched offset'
	check "the TSC deadline timer is used" kernel_says 'TSC deadline timer available'
	none "the kernel has no complaint about ACPI" 'ACPI.*([Ee]rror|BUG|[Ww]arning|[Ff]ailed)'
	no_trouble
}

no_trouble() {
	none "no interrupt and no request was lost" \
		'nobody cared|I/O error|Spurious|virtio.*(fail|error)|timed out'
}

# ---- disks

# disk NAME SERIAL SECTORS READONLY BLOCK QUEUES
disk() {
	sys=/sys/block/$1
	is "$1: serial" "$(cat "$sys/serial")" "$2"
	is "$1: capacity" "$(cat "$sys/size")" "$3"
	is "$1: read-only flag" "$(cat "$sys/ro")" "$4"
	is "$1: logical block size" "$(cat "$sys/queue/logical_block_size")" "$5"
	is "$1: queues" "$(find "$sys/mq" -mindepth 1 -maxdepth 1 -type d | wc -l)" "$6"
}

forget() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
}

# written DISK MIB COUNT: writes random data, reads it back from the device, reports its sum
written() {
	dd if=/dev/urandom of=/tmp/data bs=1M count="$3" 2>/dev/null
	dd if=/tmp/data of="/dev/$1" bs=64k seek=$(($2 * 16)) conv=fsync,notrunc 2>/dev/null || return
	forget
	dd if="/dev/$1" bs=64k skip=$(($2 * 16)) count=$(($3 * 16)) 2>/dev/null |
		cmp - /tmp/data || return
	echo "SUM $1 $2 $3 $(md5sum </tmp/data | cut -d ' ' -f 1)"
}

# interrupts PATTERN: any of the lines that match has been counted up
interrupts() {
	grep -E "$1" /proc/interrupts | awk '
		{ for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) sum += $i }
		END { exit !sum }'
}

write_readonly() {
	! dd if=/dev/zero of=/dev/vdb bs=512 count=1 conv=fsync 2>/dev/null
}

filesystem() {
	mke2fs -b 4096 /dev/vdd >/dev/null 2>&1 && mount -t ext4 /dev/vdd /mnt || return
	cp /tmp/data /mnt/data && echo "mvmm was here: $(option case)" >/mnt/note || return
	sync
	umount /mnt
	forget
	mount -t ext4 /dev/vdd /mnt && cmp /tmp/data /mnt/data && umount /mnt
}

discarded() {
	blkdiscard -o $((16 << 20)) -l $((8 << 20)) /dev/vda || return
	forget
	dd if=/dev/vda bs=1M skip=16 count=8 2>/dev/null | cmp -n $((8 << 20)) - /dev/zero
}

test_matrix() {
	test_machine
	cpus=$(option cpus)
	disk vda data-0001 131072 0 512 "$cpus"
	disk vdb read-only 18434 1 512 1
	disk vdc "" 10737418240 0 512 "$cpus"
	disk vdd serial-of-20-letters 32768 0 4096 1
	is "vdb: data the host put there" "$(md5sum </dev/vdb | cut -d ' ' -f 1)" "$(option sum)"
	check "vdb: refuses writes" write_readonly
	check "vda: data is there after dropping caches" written vda 0 8
	check "vdc: data beyond 2 TiB is there after dropping caches" written vdc 5242879 1
	check "vdd: a filesystem keeps its files" filesystem
	check "vda: data that will be discarded" written vda 16 8 | grep -v SUM
	check "vda: discarded data reads as zeroes" discarded
	test_interrupts
}

test_interrupts() {
	case $(option transport) in
	pci) check "completions come by MSI-X" interrupts 'PCI-MSI.*virtio[0-9]+-req' ;;
	mmio) check "completions come by an edge interrupt" interrupts 'IO-APIC.*edge.*virtio' ;;
	esac
}

test_boots() {
	check "vda: data is there after dropping caches" written vda 0 2
	test_interrupts
	no_trouble
}

# command BYTES: into the command register of every virtio function on PCI
command() {
	for device in /sys/bus/pci/devices/*; do
		[ "$(cat "$device/vendor")" = 0x1af4 ] || continue
		# shellcheck disable=SC2059 # octal
		printf "$1" | dd of="$device/config" bs=1 seek=4 conv=notrunc 2>/dev/null
	done
}

# Memory decoding alone, as a kexec leaves it, and then bus mastering with it again: the devices have
# stopped for good, and only their reset brings them back.
lose_bus_mastering() {
	command '\002\004'
	command '\006\004'
}

# One round: all that was written is there, then the driver goes in the middle of somebody's reads,
# by rmmod, which resets the device, or by unbind. Nobody minds that those reads fail.
reset_round() {
	written vda 0 1 >/tmp/sums || return
	dd if=/dev/vdb of=/dev/null bs=4k count=256 iflag=direct 2>/dev/null &
	reader=$!
	if [ $(($1 % 2)) -eq 0 ]; then
		for device in /sys/bus/virtio/drivers/virtio_blk/virtio*; do
			echo "${device##*/}" >/sys/bus/virtio/drivers/virtio_blk/unbind
		done
	fi
	wait $reader
	[ $(($1 % 3)) -ne 1 ] || lose_bus_mastering
	rmmod virtio_blk && insmod /modules/virtio_blk.ko || return
	dd if=/dev/vda bs=64k count=16 2>/dev/null | cmp - /tmp/data
}

test_resets() {
	rounds=$(option rounds)
	round=0
	while [ $round -lt "$rounds" ] && reset_round $round; do
		round=$((round + 1))
	done
	is "rounds of reset" $round "$rounds"
	cat /tmp/sums
	test_interrupts
	# The reads of a disk that goes may fail.
	none "nothing broke" 'nobody cared|Spurious|virtio.*(fail|error)|timed out|BUG:'
}

test_many() {
	n=$(option disks)
	is "$n disks are there" "$(find /sys/block -name 'vd*' | wc -l)" "$n"
	letters=abcdefghijklmnopqrstuvwxyz
	i=1
	while [ $i -le "$n" ]; do
		letter=$(echo $letters | cut -c $i)
		is "vd$letter is disk $i" "$(cat "/sys/block/vd$letter/serial")" "disk-$i"
		i=$((i + 1))
	done
	check "the last one takes data" written "vd$letter" 0 1
}

test_memory() {
	check "RAM begins again at 4 GiB" grep -q '^100000000-.*System RAM' /proc/iomem
	total=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
	check "all of it is usable ($total MiB)" [ "$total" -gt "$(option mib)" ]
	# Everything above 4 GiB is zone Normal, and page cache is taken from there first. It lasts as
	# long as somebody has the disk open.
	exec 3</dev/vda
	check "vda: data is there after dropping caches" written vda 0 32
	pages=$(awk '/zone +Normal/ { on = 1 } on && /nr_zone_(in)?active_file/ { n += $2 }
		END { print n + 0 }' /proc/zoneinfo)
	check "disk data lies above 4 GiB ($pages pages)" [ "$pages" -gt 0 ]
}

test_cpus() {
	is "$(option cpus) CPUs are up" "$(nproc)" "$(option cpus)"
	is "no more than four queues by default" \
		"$(find /sys/block/vda/mq -mindepth 1 -maxdepth 1 -type d | wc -l)" 4
	check "vda: data is there after dropping caches" written vda 0 2
}

test_pvh() {
	# Linux gives itself this loader type when it was entered by PVH outside of Xen.
	is "entered by PVH" "$(bootloader)" 176
	test_machine
	check "vda: data is there after dropping caches" written vda 0 2
}

test_fio() {
	mount -t ext4 -o ro /dev/vdb /mnt || return
	set -- --name=verify --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=32 \
		--rw=randwrite --bsrange=4k-64k --size=24M --verify=crc32c --do_verify=1 \
		--verify_fatal=1 --randseed=1
	if /mnt/ld.so --library-path /mnt/lib /mnt/fio "$@" >/tmp/fio 2>&1; then
		echo "ok - fio finds at depth 32 what it wrote"
	else
		echo "not ok - fio finds at depth 32 what it wrote"
		tail -n 20 /tmp/fio | sed 's/^/# /'
	fi
	is "at a depth of 32" "$(grep -cE 'IO depths.*32=([1-9]|0\.[1-9])' /tmp/fio)" 1
}

# ---- the data-plane reference: seven disks under load at once

# msix DISK: how many interrupts its own vectors have brought, on all CPUs
msix() {
	device=$(readlink "/sys/block/$1/device")
	grep -E "PCI-MSI.* ${device##*/}-req" /proc/interrupts | awk '
		{ for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) sum += $i }
		END { print sum + 0 }'
}

# kvm-clock is the TSC too, scaled by what KVM says in a page.
clock_is_tsc() {
	case $1 in
	tsc | kvm-clock) grep -qw tsc /proc/cpuinfo ;;
	*) false ;;
	esac
}

test_tsc() {
	devices=/sys/devices/system
	clock=$(cat $devices/clocksource/clocksource0/current_clocksource)
	check "time is read from the TSC (clocksource $clock)" clock_is_tsc "$clock"
	is "every CPU's timer is the TSC deadline" \
		"$(cat $devices/clockevents/clockevent[0-9]*/current_device | sort -u)" lapic-deadline
	is "every CPU has x2apic and tsc_deadline_timer" \
		"$(grep -w x2apic /proc/cpuinfo | grep -cw tsc_deadline_timer)" "$(nproc)"
}

# load JOB: runs its file, leaves fio's JSON for the host
load() {
	check "$1: fio comes to its end" env RUNTIME="$(option seconds)" BATCH="$(option batch)" \
		/mnt/ld.so --library-path /mnt/lib /mnt/fio --eta=never \
		--output-format=json --output="/tmp/results/$1.json" "/dataplane/$1.fio" \
		2>/tmp/errors
	sed 's/^/# /' /tmp/errors
}

# Results go to the last disk as a tar. Ends by debug-exit: an orderly end would switch off what
# mvmm is to find in the vCPUs' MSRs.
test_dataplane() {
	mount -t ext4 -o ro /dev/vdh /mnt || return
	mkdir /tmp/results
	for disk in a b c d e f g; do
		is "vd$disk: serial" "$(cat /sys/block/vd$disk/serial)" "plane-$disk"
		check "vd$disk: takes 256 requests at once" \
			[ "$(cat /sys/block/vd$disk/queue/nr_requests)" -ge 256 ]
		msix "vd$disk" >"/tmp/vd$disk"
	done
	load randwrite
	load randread
	for disk in a b c d e f g; do
		count=$(($(msix "vd$disk") - $(cat /tmp/vd$disk)))
		check "vd$disk: completions come by MSI-X ($count interrupts)" [ $count -gt 0 ]
	done
	test_machine
	test_tsc
	tar -c -C /tmp/results . | dd of=/dev/vdi bs=64k conv=fsync,notrunc 2>/dev/null
	echo DONE
	outb 0xf4 21
}

# ---- ends: none of these comes back

test_reboot() {
	echo DONE
	reboot -f
}

# The first boot leaves a mark on the disk and reboots, the second finds it.
test_again() {
	if [ "$(head -c 6 /dev/vda)" = second ]; then
		echo "ok - the second boot finds what the first one wrote"
		return
	fi
	printf second | dd of=/dev/vda conv=fsync,notrunc 2>/dev/null
	reboot -f
}

# The power button is an event of the GED, whatever a distribution makes of it.
buttons() {
	awk '/Ged$/ { n = 0; for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i; m += n } END { print m + 0 }' \
		/proc/interrupts
}

# wait_button N: until it has been pressed that often
wait_button() {
	until [ "$(buttons)" -ge "$1" ]; do
		usleep 200000
	done
}

test_button() {
	echo DONE
	wait_button 1
	echo "ok - the power button interrupts"
}

# Verified I/O while the host stops and goes on, until it has had enough and presses the power button.
# Watchdogs take two seconds for long.
test_pause() {
	echo 1 >/proc/sys/kernel/watchdog_thresh
	round=0
	bad=0
	until [ "$(buttons)" -gt 0 ] || [ $bad -gt 0 ]; do
		written vda $((round % 8)) 1 >/tmp/sum || bad=1
		cp /tmp/sum "/tmp/sum.$((round % 8))"
		round=$((round + 1))
		[ $round -ne 1 ] || echo "# at work"
	done
	is "rounds of verified I/O that went wrong, of $round" $bad 0
	cat /tmp/sum.*
	none "no watchdog has noticed" 'soft lockup|rcu.*stall|blocked for more than|clocksource.*unstable'
	no_trouble
}

# More than the host has room for.
test_full() {
	for disk in vda vdb; do
		check "$disk: data is there after dropping caches" written $disk 0 8
	done
	no_trouble
}

test_panic() {
	echo DONE
	echo c >/proc/sysrq-trigger
}

test_pvpanic() {
	insmod /modules/pvpanic.ko
	insmod /modules/pvpanic-mmio.ko
	echo DONE
	echo c >/proc/sysrq-trigger
}

test_halt() {
	echo DONE
	halt -f
}

test_debugexit() {
	is "$(option cpus) CPUs are up" "$(nproc)" "$(option cpus)"
	echo DONE
	outb 0xf4 21
}

test_sleep() {
	echo DONE
	sleep 1000
}

test_busy() {
	echo DONE
	while :; do
		dd if=/dev/zero of=/dev/vda bs=64k count=128 conv=fsync,notrunc 2>/dev/null
	done
}

# ---- disks that come and go

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

# setting SLOT: vendor and device, as configuration space has them
setting() {
	hexdump -n 4 -e '"%08x"' "/sys/bus/pci/devices/0000:00:0$1.0/config"
}

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

# disk NAME SERIAL SECTORS READONLY BLOCK QUEUES RING
disk() {
	sys=/sys/block/$1
	is "$1: serial" "$(cat "$sys/serial")" "$2"
	is "$1: capacity" "$(cat "$sys/size")" "$3"
	is "$1: read-only flag" "$(cat "$sys/ro")" "$4"
	is "$1: logical block size" "$(cat "$sys/queue/logical_block_size")" "$5"
	is "$1: queues" "$(find "$sys/mq" -mindepth 1 -maxdepth 1 -type d | wc -l)" "$6"
	is "$1: requests in a ring" "$(cat "$sys/mq/0/nr_tags")" "$7"
	is "$1: segments of a request" "$(cat "$sys/queue/max_segments")" 126
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
	disk vda data-0001 131072 0 512 "$cpus" 256
	disk vdb read-only 18434 1 512 1 256
	disk vdc "" 10737418240 0 512 "$cpus" 256
	disk vdd serial-of-20-letters 32768 0 4096 1 1024
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

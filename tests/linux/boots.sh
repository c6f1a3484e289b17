# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# Cases about how Linux boots, what it finds, and how it ends, for suite.sh, which has what they
# use.
#
# shellcheck disable=SC2154,SC2034 # what suite.sh sets

# matrix-FLAVOUR-TRANSPORT-CPUS: four disks, all that can be seen of them from both sides
matrix() {
	flavour=$1
	transport_is "$2"
	cpus=$3
	blank "$dir/data.img" 64M
	pattern "$dir/ro.img" $((9 * 1024 * 1024 + 1024))
	blank "$dir/big.img" 5497558138880
	blank "$dir/small.img" 16M
	sum=$(md5 <"$dir/ro.img")
	linux "$flavour" matrix "cpus=$cpus transport=$transport case=$case sum=$sum"
	# shellcheck disable=SC2086 # several words
	boot $flags --cpus "$cpus" \
		--disk "$dir/data.img,serial=data-0001" \
		--disk "$dir/ro.img,readonly,serial=read-only,queues=1" \
		--disk "$dir/big.img,cache=writeback" \
		--disk "$dir/small.img,serial=serial-of-20-letters,block-size=4096,queues=1,queue-size=1024"
	ended 0 poweroff
	on_host vda "$dir/data.img"
	on_host vdc "$dir/big.img"
	is "vdb: the image is untouched" "$(md5 <"$dir/ro.img")" "$sum"
	check "vdd: the file is in the image" image_has "$dir/small.img" "mvmm was here: $case"
	kib=$(allocated_kib "$dir/data.img")
	check "vda: discarding freed the image's blocks ($kib KiB left)" [ "$kib" -lt 12288 ]
}

# boots TRANSPORT COUNT: one after another, each with a disk that is written and read
boots() {
	transport_is "$1"
	blank "$dir/data.img" 16M
	linux cloud boots "transport=$transport"
	boots=1
	while [ $boots -le "$2" ] && [ -z "$failed" ]; do
		# shellcheck disable=SC2086
		boot $flags --cpus $((1 + boots % 2)) --disk "$dir/data.img"
		ended 0 poweroff
		on_host vda "$dir/data.img"
		boots=$((boots + 1))
	done
}

# resets TRANSPORT ROUNDS: the guest takes its drivers off the disks and puts them on again
resets() {
	transport_is "$1"
	blank "$dir/data.img" 16M
	blank "$dir/more.img" 16M
	linux cloud resets "rounds=$2 transport=$transport"
	# shellcheck disable=SC2086
	boot $flags --cpus 2 --disk "$dir/data.img" --disk "$dir/more.img"
	ended 0 poweroff
	on_host vda "$dir/data.img"
	[ "$transport" != pci ] || check "disks that lost bus mastering stopped" \
		grep -q 'vda: bus mastering switched off' "$dir/stderr"
}

pvh() {
	blank "$dir/data.img" 16M
	linux cloud pvh "cpus=2"
	kernel=cloud.vmlinux
	boot --cpus 2 --disk "$dir/data.img"
	ended 0 poweroff
	on_host vda "$dir/data.img"
}

# many_cpus N
many_cpus() {
	blank "$dir/data.img" 16M
	linux cloud cpus "cpus=$1"
	boot --cpus "$1" --memory 512M --disk "$dir/data.img"
	ended 0 poweroff
	on_host vda "$dir/data.img"
}

# 3 GiB below the hole, 1 GiB above 4 GiB; the host gives pages only as they are touched
memory() {
	blank "$dir/data.img" 64M
	linux cloud memory "mib=3800"
	boot --memory 4G --disk "$dir/data.img"
	ended 0 poweroff
	on_host vda "$dir/data.img"
}

# many disks, each of its own size
many() {
	transport=$1
	disks=$2
	set --
	i=1
	while [ $i -le "$disks" ]; do
		blank "$dir/$i.img" ${i}M
		set -- "$@" --disk "$dir/$i.img,serial=disk-$i"
		i=$((i + 1))
	done
	linux cloud many "disks=$disks"
	boot --transport "$transport" --cpus 2 "$@"
	ended 0 poweroff
	on_host "vd$(echo abcdefghijklmnopqrstuvwxyz | cut -c "$disks")" "$dir/$disks.img"
}

reboot_by() {
	linux cloud reboot ""
	append="console=ttyS0 panic=-1 reboot=$1 $append"
	boot --no-default-append
	ended "$2" "$3"
}

restart() {
	blank "$dir/data.img" 1M
	linux cloud again ""
	boot --on-reboot restart --disk "$dir/data.img"
	ended 0 poweroff
}

pvpanic() {
	linux cloud pvpanic ""
	boot --panic-match ''
	ended 34 panic
}

console_panic() {
	linux cloud panic ""
	boot
	ended 34 panic
}

# No initramfs: the kernel finds no root and panics before any driver could be loaded.
early_panic() {
	status=0
	timeout -k 10 "$patience" ./mvmm run --kernel cloud.vmlinuz --append quiet \
		--result "$dir/result" --console "file:$dir/console" \
		</dev/null 2>"$dir/stderr" || status=$?
	exited 34 panic
	check "the message is in the console's file" \
		grep -q 'Kernel panic - not syncing: VFS' "$dir/console"
}

halted() {
	linux cloud halt "cpus=$1"
	boot --cpus "$1"
	ended 35 halted
}

# What guests hardly say themselves: the vCPUs' MSRs as KVM holds them at the end. An orderly reboot
# would have switched PV-EOI off again.
in_use() {
	for cpu in 0 1; do
		for feature in x2apic kvm-clock pv-eoi; do
			check "vcpu$cpu: $feature is in use" \
				grep -qE "vcpu$cpu:.* $feature on \(MSR 0x" "$dir/stderr"
		done
	done
}

debug_exit() {
	linux cloud debugexit "cpus=2"
	boot --debug-exit --cpus 2 --verbose
	ended 43 debug-exit
	in_use
}

# However far the guest has come by then.
time_limit() {
	linux cloud sleep ""
	boot --timeout 5
	exited 36 timeout
}

# signalled NAME NUMBER: ends within a second, with the disk being written to all the time
signalled() {
	blank "$dir/data.img" 16M
	linux cloud busy ""
	./mvmm run --kernel cloud.vmlinuz --initrd cloud.cpio --append "$append" --timeout "$patience" \
		--result "$dir/result" --disk "$dir/data.img" \
		</dev/null >"$dir/console" 2>"$dir/stderr" &
	pid=$!
	within_patience grep -qs '^DONE' "$dir/console"
	sleep 1
	from=$(cut -d ' ' -f 1 /proc/uptime)
	kill "-$1" $pid
	status=0
	wait $pid || status=$?
	took=$(awk -v from="$from" '{ print $1 - from }' /proc/uptime)
	ended $((128 + $2)) signal
	limit=2
	[ -z "${SLOW:-}" ] || limit=5
	check "it took at most $limit s ($took)" awk "BEGIN { exit !($took <= $limit) }"
}

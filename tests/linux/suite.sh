# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# Boots Linux under mvmm and checks what comes out: `suite.sh CASE ...`. Runs wherever KVM runs stock
# kernels, in the lab's busybox or on a real host, in a folder that holds mvmm, *.vmlinuz, *.cpio,
# cloud.vmlinux and tools.img (see ./run). Prints TAP without a plan and a last line `# complete`.
#
# SLOW, if set, says that this machine is emulated: only then are limits of time relaxed.
set -u
# shellcheck source=hotplug.sh
. ./hotplug.sh

# What a case leaves here but for images stays for those who look into a failure.
work=$PWD/out
patience=150
input=/dev/null # of a VM in the background

# ---- TAP

ok() {
	echo "ok - $case: $1"
}

not_ok() {
	echo "not ok - $case: $1"
	failed=1
}

# is DESCRIPTION GOT WANTED
is() {
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1"
		echo "# got '$2', wanted '$3'"
	fi
}

check() {
	what=$1
	shift
	if "$@"; then
		ok "$what"
	else
		not_ok "$what"
	fi
}

# ---- disks

# pattern FILE BYTES
pattern() {
	head -c "$2" /dev/urandom >"$1"
}

blank() {
	rm -f "$1"
	truncate -s "$2" "$1"
}

md5() {
	md5sum | cut -d ' ' -f 1
}

allocated_kib() {
	du -k "$1" | cut -f 1
}

# image_has FILE TEXT: busybox's grep sees no further than a line's first NUL
image_has() {
	tr '\0' '\n' <"$1" | grep -qF "$2"
}

# ---- one VM

# console: what the guest said, without the carriage returns of its terminal
console() {
	[ ! -e "$dir/console" ] || tr -d '\r' <"$dir/console"
}

evidence() {
	echo "# exit status $status; $(cat "$dir/result" 2>/dev/null)"
	tail -n 12 "$dir/stderr" 2>/dev/null | sed 's/^/# stderr: /'
	console | tail -n 25 | sed 's/^/# console: /'
}

# begin CASE: a fresh folder
begin() {
	case=$1
	dir=$work/$case
	rm -rf "$dir"
	mkdir -p "$dir"
	failed=
	flags=
	status=none
	started=$(cut -d ' ' -f 1 /proc/uptime)
}

# finish: what is known of a failure, and room for the next case
finish() {
	[ -z "$failed" ] || evidence
	echo "# $case took $(awk -v from="$started" '{ print $1 - from }' /proc/uptime) s"
	rm -f "$dir"/*.img
}

# linux FLAVOUR TEST "OPTION=VALUE ...": the kernel, its initramfs and what its init is to do
linux() {
	append="mvmm.test=$2 quiet"
	for word in $3; do
		append="$append mvmm.$word"
	done
	kernel=$1.vmlinuz
	initrd=$1.cpio
}

# boot ARGUMENT...: runs mvmm as prepared by linux()
boot() {
	status=0
	timeout -k 10 $patience ./mvmm run --kernel "$kernel" --initrd "$initrd" --append "$append" \
		--result "$dir/result" "$@" </dev/null >"$dir/console" 2>"$dir/stderr" || status=$?
}

# guest_says: passes on the guest's own TAP lines; it must have come to its DONE
guest_says() {
	console | sed -n "/^\(not ok\|ok\) - /s/ - / - $case: /p; /^# /p"
	! console | grep -q '^not ok - ' || failed=1
	console | grep -q '^DONE$' || not_ok "the guest came to its end"
}

# exited STATUS REASON: as the exit status and as --result say
exited() {
	is "exit status" "$status" "$1"
	check "--result says $2" grep -qs "\"reason\":\"$2\",\"status\":$1," "$dir/result"
}

ended() {
	guest_says
	exited "$1" "$2"
	case $flags in
	*page*) check "registers are read without an exit" \
		grep -q 'register pages are read-only memory' "$dir/stderr" ;;
	esac
}

# on_host DISK FILE: every SUM the guest reported for the disk holds in the image
on_host() {
	console | sed -n "s/^SUM $1 //p" >"$dir/sums"
	sums=0
	while read -r mib count want; do
		sums=$((sums + 1))
		is "$1: $count MiB at MiB $mib are in the image" \
			"$(dd if="$2" bs=1M skip="$mib" count="$count" 2>/dev/null | md5)" "$want"
	done <"$dir/sums"
	[ $sums -gt 0 ] || not_ok "$1: the guest reported no data to compare"
}

# transport_is NAME: pci, mmio, or mmiopage, whose registers are read without an exit
transport_is() {
	transport=${1%page}
	flags="--transport $transport --verbose"
	[ "$1" != mmio ] || flags="$flags --mmio-isr exit"
}

# ---- cases

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
		--disk "$dir/small.img,serial=serial-of-20-letters,block-size=4096,queues=1"
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

fio() {
	transport_is "$1"
	blank "$dir/data.img" 32M
	linux cloud fio ""
	# shellcheck disable=SC2086
	boot $flags --disk "$dir/data.img,cache=none,aio=$2" --disk tools.img,readonly
	ended 0 poweroff
}

# fio_jobs FILE RW LEVEL: of each job in fio's JSON its name, error, IOPS, 99th percentile in us and
# the share in % of requests that were issued at this level of depth
fio_jobs() {
	tr -d '",' <"$1" | awk -v rw="$2" -v level="$3" '
		$3 == "{" { section = $1 }
		$3 == "{" && /^ *(read|write|trim|sync) :/ { direction = $1 }
		$1 == "jobname" { job = $3; iops = p99 = 0; error = "none" }
		$1 == "error" { error = $3 }
		$1 == "iops" && direction == rw { iops = $3 }
		$1 == "99.000000" && direction == rw { p99 = $3 / 1000 }
		section == "iodepth_level" && $1 == level {
			printf "%s %s %d %d %d\n", job, error, iops, p99, $3
		}'
}

# fio_ran JOB RW DEPTH LEVEL: all disks took part, without errors, as deep as asked
fio_ran() {
	fio_jobs "$dir/$1.json" "$2" "$4" >"$dir/$1.jobs"
	is "$1: all disks took part" "$(cut -d ' ' -f 1 "$dir/$1.jobs" | tr '\n' ' ')" \
		"vda vdb vdc vdd vde vdf vdg "
	is "$1: every job had I/O and no errors" \
		"$(awk '$2 != "0" || $3 <= 0' "$dir/$1.jobs" | tr '\n' ' ')" ''
	check "$1: depth $3 was asked for" grep -q "\"iodepth\" : \"$3\"" "$dir/$1.json"
	is "$1: and reached on every disk" "$(awk '$5 <= 0' "$dir/$1.jobs" | tr '\n' ' ')" ''
}

summary() {
	awk '
	function row(name, a, b, c, d) { printf "%-6s %10s %8s %10s %8s\n", name, a, b, c, d }
	BEGIN {
		row("", "randwrite", "depth 32", "randread", "depth 256")
		row("disk", "IOPS", "p99 us", "IOPS", "p99 us")
	}
	NR == FNR { iops[$1] = $3; p99[$1] = $4; writes += $3; next }
	{ row($1, iops[$1], p99[$1], $3, $4); reads += $3 }
	END { row("total", writes, "", reads, "") }' "$dir/randwrite.jobs" "$dir/randread.jobs"
}

# The data-plane reference: seven disks, fio's job files of dataplane/ in the guest. What they said
# stays as randwrite.json, randread.json and summary.
dataplane() {
	seconds=${DATAPLANE_SECONDS:-5}
	patience=$((150 + 2 * seconds))
	batch=1
	[ -z "${SLOW:-}" ] || batch=16
	set --
	for disk in a b c d e f g; do
		blank "$dir/$disk.img" 64M
		set -- "$@" --disk "$dir/$disk.img,cache=none,aio=native,serial=plane-$disk"
	done
	blank "$dir/results.img" 4M
	linux cloud dataplane "cpus=2 seconds=$seconds batch=$batch"
	boot --debug-exit --verbose --cpus 2 --memory 512M "$@" \
		--disk tools.img,readonly --disk "$dir/results.img"
	patience=150
	ended 43 debug-exit
	in_use
	grep -E 'vcpu[01]:' "$dir/stderr" | sed 's/^/# /'
	check "fio's results are there" tar -x -f "$dir/results.img" -C "$dir"
	fio_ran randwrite write 32 32
	fio_ran randread read 256 '>=64'
	summary >"$dir/summary"
	sed 's/^/# /' "$dir/summary"
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

# background ARGUMENT ...: as boot, but lets it run, with a control socket
background() {
	: >"$dir/console"
	./mvmm run --kernel "$kernel" --initrd "$initrd" --append "$append" --timeout $patience \
		--result "$dir/result" --control "$dir/ctl" "$@" \
		<"$input" >"$dir/console" 2>"$dir/stderr" &
	pid=$!
}

# within_patience COMMAND ...: until it succeeds
within_patience() {
	tries=0
	until "$@" || [ $tries -ge $patience ]; do
		sleep 1
		tries=$((tries + 1))
	done
}

# guest_said LINE N: in N boots
guest_said() {
	[ "$(console | grep -cx "$1")" -ge "$2" ]
}

guest_done() {
	within_patience guest_said DONE "$1"
}

# has_ended STATUS REASON: what was started by background()
has_ended() {
	status=0
	wait $pid || status=$?
	ended "$1" "$2"
}

# ctl WHAT TEXT WORD ...: what mvmm ctl prints has TEXT
ctl() {
	what=$1 text=$2
	shift 2
	./mvmm ctl "$dir/ctl" "$@" >"$dir/answer" 2>&1
	if grep -q -e "$text" "$dir/answer"; then
		ok "$what"
	else
		not_ok "$what"
		sed 's/^/# ctl: /' "$dir/answer"
	fi
}

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
	kill -TERM $pid
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
	while kill -0 $pid 2>/dev/null; do
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
	timeout -k 10 $patience ./mvmm run --kernel cloud.vmlinuz --append quiet \
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
	./mvmm run --kernel cloud.vmlinuz --initrd cloud.cpio --append "$append" --timeout $patience \
		--result "$dir/result" --disk "$dir/data.img" \
		</dev/null >"$dir/console" 2>"$dir/stderr" &
	pid=$!
	tries=0
	until grep -qs '^DONE' "$dir/console" || [ $tries -ge $patience ]; do
		sleep 1
		tries=$((tries + 1))
	done
	sleep 1
	from=$(cut -d ' ' -f 1 /proc/uptime)
	kill "-$1" $pid
	status=0
	wait $pid || status=$?
	took=$(awk -v from="$from" '{ print $1 - from }' /proc/uptime)
	ended $((128 + $2)) signal
	limit=1
	[ -z "${SLOW:-}" ] || limit=5
	check "it took at most $limit s ($took)" awk "BEGIN { exit !($took <= $limit) }"
}

# ---- one that is asked while it runs

ask() {
	./mvmm ctl "$dir/ctl" "$@"
}

# start ARGUMENT...: like boot, in the background and with a control socket
start() {
	./mvmm run --kernel "$kernel" --initrd "$initrd" --append "$append" --timeout $patience \
		--result "$dir/result" --control "$dir/ctl" "$@" \
		</dev/null >"$dir/console" 2>"$dir/stderr" &
	pid=$!
}

# said PATTERN [SECONDS]: waits until the guest has said a line of exactly this
said() {
	tries=0
	until grep -qsx "$1" "$dir/console"; do
		tries=$((tries + 1))
		if [ $tries -ge $((10 * ${2:-60})) ] || ! kill -0 $pid 2>/dev/null; then
			not_ok "the guest says '$1'"
			return 1
		fi
		usleep 100000
	done
}

stopped() {
	status=0
	wait $pid || status=$?
}

# refused DESCRIPTION PATTERN VERB...: the VM says no, and why
refused() {
	what=$1
	why=$2
	shift 2
	said=0
	ask "$@" >"$dir/answer" 2>&1 || said=$?
	if [ $said -eq 1 ] && grep -q "$why" "$dir/answer"; then
		ok "$what"
	else
		not_ok "$what"
		sed "s/^/# $said: /" "$dir/answer"
	fi
}

# obeyed DESCRIPTION VERB...
obeyed() {
	what=$1
	shift
	if ask "$@" >"$dir/answer" 2>&1; then
		return 0
	fi
	not_ok "$what"
	sed 's/^/# /' "$dir/answer"
	return 1
}

# copied KIND STATE: waits until vda's mirror or backup is there
copied() {
	tries=0
	until ask disk "$1" status vda --json 2>/dev/null | grep -q "\"state\":\"$2\""; do
		tries=$((tries + 1))
		if [ $tries -ge 600 ] || ! kill -0 $pid 2>/dev/null; then
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
	start --cpus 2 --disk "$dir/data.img" --disk "tools.img,readonly" --allow "$dir" --allow /dev
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
	start --cpus 2 --disk "$dir/data.img,overlay=temp:$dir,cache=writeback" \
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
	grep -c "ext4_sync_file_enter: .* ino $1 " $tracing/trace
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
	start --cpus 2 --disk "$dir/data.img" --disk "tools.img,readonly" ${loop:+--disk "$loop"}
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

run_case() {
	begin "$1"
	case $1 in
	matrix-*)
		IFS=-
		# shellcheck disable=SC2086
		set -- $1
		unset IFS
		matrix "$2" "$3" "$4"
		;;
	boots-* | resets-*)
		IFS=-
		# shellcheck disable=SC2086
		set -- $1
		unset IFS
		"$1" "$2" "$3"
		;;
	pvh) pvh ;;
	cpus-*) many_cpus "${1#*-}" ;;
	memory) memory ;;
	many-pci) many pci 16 ;;
	many-mmio) many mmio 16 ;;
	fio-native) fio pci native ;;
	fio-threads) fio mmio threads ;;
	fio-page) fio mmiopage native ;;
	dataplane) dataplane ;;
	reboot-keyboard) reboot_by k 32 reset ;;
	reboot-acpi) reboot_by a 32 reset ;;
	reboot-triple) reboot_by t 33 crash ;;
	restart) restart ;;
	control) control ;;
	pause) pausing ;;
	limits) limits ;;
	on-error) on_error ;;
	panic-pvpanic) pvpanic ;;
	panic-console) console_panic ;;
	panic-early) early_panic ;;
	halted-1) halted 1 ;;
	halted-2) halted 2 ;;
	debug-exit) debug_exit ;;
	time-limit) time_limit ;;
	sigterm) signalled TERM 15 ;;
	sigint) signalled INT 2 ;;
	hotplug-6.12-*) hotplug cloud-6.12 "${1##*-}" ;;
	hotplug-[0-9]*) hotplug cloud "${1#*-}" ;;
	hotplug-block) hotplug_block ;;
	hotplug-dead) hotplug_dead ;;
	hotplug-restart) hotplug_restart ;;
	hotplug-refusals) hotplug_refusals ;;
	hotplug-full) hotplug_full ;;
	hotplug-used) hotplug_used ;;
	hotplug-forced) hotplug_forced ;;
	mirror) mirror ;;
	backup) backup ;;
	overlay) overlay ;;
	resize) resize ;;
	*) not_ok "there is no such case" ;;
	esac
	finish
}

for each; do
	run_case "$each"
done
echo "# complete"

# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# Boots Linux under mvmm and checks what comes out: `suite.sh CASE ...`. Runs wherever KVM runs stock
# kernels, in the lab's busybox or on a real host, in a folder that holds mvmm, *.vmlinuz, *.cpio,
# cloud.vmlinux and tools.img (see ./run). Prints TAP without a plan and a last line `# complete`.
#
# SLOW, if set, says that this machine is emulated: only then are limits of time relaxed.
set -u
# shellcheck source=boots.sh
. ./boots.sh
# shellcheck source=load.sh
. ./load.sh
# shellcheck source=live.sh
. ./live.sh
# shellcheck source=changes.sh
. ./changes.sh
# shellcheck source=../guest/holdings.sh
. ./holdings.sh
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

# ---- one that is asked while it runs

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

ask() {
	./mvmm ctl "$dir/ctl" "$@"
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

# ---- cases

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

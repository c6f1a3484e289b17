# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Cases in which disks come and go while a payload guest runs, for `run`: what the host does, and looks
# at. See payload/test_plug.c. After lib.sh.
#
# shellcheck disable=SC2154 # what lib.sh sets

# plugged COMMAND-LINE [OPTION ...]: the payload in the background, with a control socket, once it is
# ready; $guest is mvmm's own number
plugged() {
	append=$1
	shift
	image disk.img
	timeout -k 5 $((2 * limit + 10 * ${PLUG_ROUNDS:-0})) "$mvmm" run --kernel "$payloads/payload.elf" --no-default-append \
		--append "$append" --debug-exit --control ctl "$@" --disk disk.img </dev/null >out 2>err &
	guest=$!
	i=0
	until grep -q '^# plug: ready' out; do
		if [ $((i += 1)) -gt $((10 * limit)) ] || ! kill -0 $guest 2>/dev/null; then
			problem "the guest did not get ready"
			return 1
		fi
		sleep 0.1
	done
	mvmm_pid=$(process_below $guest)
	[ -n "$mvmm_pid" ] || problem "there is no process with a vCPU"
}

# asked WORD ...: mvmm ctl does it
asked() {
	"$mvmm" ctl ctl "$@" >said 2>&1 || problem "ctl $*: $(cat said)"
}

gone() {
	want=$1
	wait "$guest"
	got=$?
	[ $got = "$want" ] || problem "exit status $got instead of $want"
	[ ! -e ctl ] || problem "the control socket's file is still there"
}

# plug_case ROUNDS ENGINE: a driver that does as it is told
plug_case() {
	case_begin "$1 disks come and go, $2" || return
	n=0
	if plugged "test=plug rounds=$1"; then
		while [ $n -lt "$1" ] && [ -z "$problem" ]; do
			n=$((n + 1))
			image late.img
			asked disk add path=late.img serial=late "$2"
			# The guest must have looked at it before it is asked for it.
			i=0
			until grep -q "^# round $n md5" out || [ $((i += 1)) -gt 600 ]; do
				sleep 0.05
			done
			[ $n -ne 2 ] || holdings "$mvmm_pid" >early
			[ $n -ne "$1" ] || holdings "$mvmm_pid" >late
			asked disk remove late
			want=$(sed -n "s/^# round $n md5 \([0-9a-f]*\).*/\1/p" out)
			[ "$(md5sum <late.img)" = "$want  -" ] ||
				problem "round $n: the image is not what the guest says"
		done
		cmp -s early late || problem "held in round 2: $(cat early); in round $n: $(cat late)"
	fi
	gone 0
	guest_passed
	image_is_right disk.img
	case_end
}

# plug_hostile_case ROUNDS: another CPU ejects, moves and uses what may be there
plug_hostile_case() {
	case_begin "disks come and go under a guest that plays with them" || return
	image a.img
	image b.img
	if plugged "test=plug-hostile cpus=2 seed=${SEED:-1}" --cpus 2; then
		n=0
		while [ $n -lt "$1" ] && [ -z "$problem" ]; do
			n=$((n + 1))
			asked disk add path=a.img serial=a
			asked disk add path=b.img serial=b aio-depth=16
			asked disk remove a force-after-ms=$((n % 3 * 20))
			asked disk remove b force-after-ms=$((n % 2 * 20))
			[ $n -ne 2 ] || holdings "$mvmm_pid" >early
		done
		holdings "$mvmm_pid" >late
		cmp -s early late || problem "held after 2 rounds: $(cat early); after $n: $(cat late)"
		"$mvmm" ctl ctl disk remove vda --timeout 1 >said 2>&1 # says that it is enough
	fi
	gone 0
	guest_passed
	image_is_right disk.img
	[ "$(grep -c "^mvmm: guest:" err)" -le $((20 + n * 16)) ] || problem "too many complaints"
	case_end
}

# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# What the machine that loses its power does (L1, in busybox, see ../lab/init), in a folder that holds
# mvmm, mvmm-nosync, vmlinuz, cpio, records and tools/. Its kernel command line says what:
#
#	records.last=a17,b4,...		in the boot before, these were the last acknowledged records,
#	records.last-seed=N		written with this seed: look for them
#	records.kills=N			so many times, load and then `kill -9` mvmm, and look
#	records.load=mvmm|mvmm-nosync	then load until the power goes
#	records.seed=N			with this seed
#	records.cpus=N			so many of the guest's, and queues of each disk
#
# Each disk is alone on a file system, and that on a disk of the machine: no other's sync helps it.
#
#	a	cache=none		the guest flushes
#	b	cache=writeback		the guest flushes
#	c	cache=none		the guest expects every write to be durable
#	d	cache=writeback		the guest expects every write to be durable
#	e	cache=none		the guest has an ext4 there, and writes to a file
#	f	cache=writeback		the guest has an ext4 there, and writes to a file
#
# Small letters and capitals are two writers on the same disk: one's syncs meet the other's writes.
set -u

letters="a b c d e f"
tmp=/tmp/durability
mkdir -p $tmp

option() {
	tr ' ' '\n' </proc/cmdline | sed -n "s/^records\.$1=//p"
}

tool() {
	name=$1
	shift
	tools/ld.so --library-path tools/lib "tools/$name" "$@"
}

# Nothing gets to the disk but what is asked for: not because it is old, not because of others.
mount_disks() {
	echo 0 >/proc/sys/vm/dirty_writeback_centisecs
	echo 60000 >/proc/sys/vm/dirty_expire_centisecs
	for letter in $letters; do
		device=/dev/vd$(echo "$letter" | tr a-f b-g)
		mkdir -p "/host/$letter"
		mount -t ext4 -o noatime,commit=600 "$device" "/host/$letter" ||
			echo "failed: mount $device"
	done
}

# ---- looking

# judge WHAT DETAIL-FILE STATUS
judge() {
	if [ "$3" -eq 0 ]; then
		echo "good: $1: $(tail -n 1 "$2")"
	else
		echo "bad: $1: $(tr '\n' ';' <"$2")"
	fi
}

# What a guest that boots again would do first: preen, which mends what a journal leaves to be mended
# and nothing that is half-done. Then all is in order.
check_ext4() {
	tool e2fsck -fp "$1" >$tmp/fsck 2>&1
	[ $? -le 1 ] && tool e2fsck -fn "$1" >>$tmp/fsck 2>&1
	judge "$2: e2fsck after the journal's replay" $tmp/fsck $?
	tool debugfs -R "dump /records $tmp/file.$disk" "$1" >/dev/null 2>&1
	: >"$tmp/looked.$disk"
}

# look WHEN SEED LETTERLAST...
look() {
	when=$1
	seed=$2
	shift 2
	rm -f $tmp/looked.* $tmp/file.*
	for each; do
		letter=${each%"${each#?}"}
		disk=$(echo "$letter" | tr A-F a-f)
		file=/host/$disk/disk.img
		mib=0
		[ "$letter" = "$disk" ] || mib=17
		case $disk in
		e | f)
			[ -e "$tmp/looked.$disk" ] || check_ext4 "$file" "$when $disk"
			file=$tmp/file.$disk
			;;
		esac
		./records check "$file" $mib "$seed" "${each#?}" >$tmp/check 2>&1
		judge "$when $letter: records" $tmp/check $?
	done
}

# ---- load

disks() {
	for letter in $letters; do
		case $letter in
		a | c | e) how=cache=none,aio=native ;;
		*) how=cache=writeback ;;
		esac
		echo "--disk /host/$letter/disk.img,serial=$letter,$how"
	done
}

images() {
	for letter in $letters; do
		rm -f "/host/$letter/disk.img"
		truncate -s 64M "/host/$letter/disk.img"
	done
	for letter in e f; do
		tool mke2fs -q -F -t ext4 -E nodiscard,lazy_itable_init=0 -J size=4 \
			"/host/$letter/disk.img" || echo "failed: mke2fs"
	done
	sync
}

# run MVMM SEED [OPTION...]
run() {
	binary=$1
	append="quiet records.seed=$2"
	shift 2
	# shellcheck disable=SC2046 # several words
	exec "./$binary" run --kernel vmlinuz --initrd cpio --append "$append" --cpus "$(option cpus)" \
		$(disks) "$@" </dev/null
}

# The last record that each writer told of; the last line may be half of one.
last_of() {
	tr -d '\r' <"$1" | sed '$d' | grep -E '^[a-fA-F][0-9]+$' | awk '
		{ last[substr($0, 1, 1)] = substr($0, 2) }
		END { for (letter in last) print letter last[letter] }' | sort -f
}

# Every writer has told of a few.
loaded() {
	last_of "$1" | awk '{ if (substr($0, 2) > 10) n++ } END { exit n < 12 }'
}

# Looks once a second: oftener would take the guest's time. How long it takes is the machine's matter, and
# so there is a limit for silence only, which powercut's own is beyond.
until_loaded() {
	told=
	silent=0
	until loaded "$1"; do
		now=$(wc -c <"$1")
		[ "$now" = "$told" ] || silent=0
		told=$now
		silent=$((silent + 1))
		if [ $silent -ge 300 ] || ! kill -0 "$pid" 2>/dev/null; then
			last_of "$1" | tr '\n' ' ' >>$tmp/said
			return 1
		fi
		sleep 1
	done
}

# kill_one ROUND: `kill -9` of mvmm takes nothing with it but the guest
kill_one() {
	images
	: >$tmp/told # now: until_loaded would read of the round before
	(run mvmm "$1") >$tmp/told 2>$tmp/said &
	pid=$!
	until_loaded $tmp/told
	judge "kill $1: the guest writes" $tmp/said $?
	usleep $(($1 * 7919 % 1000 * 1000))
	kill -9 $pid
	wait $pid
	[ $? -eq 137 ]
	judge "kill $1: mvmm dies of it" $tmp/said $?
	# Whoever comes at once finds the images unlocked: the very same command, and no leftovers.
	(run mvmm 0 --dry-run) >$tmp/again 2>&1
	judge "kill $1: mvmm starts again at once" $tmp/again $?
	pidof mvmm >$tmp/left
	[ ! -s $tmp/left ]
	judge "kill $1: nothing of it is left" $tmp/left $?
	# shellcheck disable=SC2046 # several words
	look "kill $1" "$1" $(last_of $tmp/told)
}

mount_disks
if [ -n "$(option last)" ]; then
	dmesg | grep -c 'recovery complete' >$tmp/recovered
	[ "$(cat $tmp/recovered)" -eq 6 ]
	judge "host: its file systems recovered from the cut" $tmp/recovered $?
	# shellcheck disable=SC2046 # several words
	look cut "$(option last-seed)" $(option last | tr , ' ')
fi
echo "looked:"
round=1
while [ $round -le "$(option kills)" ]; do
	kill_one $round
	round=$((round + 1))
done
if [ -n "$(option load)" ]; then
	images
	echo "load:"
	run "$(option load)" "$(option seed)" 2>/dev/console
fi
sleep 1000

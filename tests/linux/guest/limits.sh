# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# Limits as a guest measures them, sourced by its init: by the kernel's own trace of completions and
# its clock, under a load that goes on meanwhile. For each line `LIMIT DISK KEY=VALUE ... .` the host
# changes limits, and answers with a line when it has.

tracing=/sys/kernel/tracing

# keep_busy DEPTH BYTES DISK ...: reads and writes at random, until leave_alone
keep_busy() {
	depth=$1
	bytes=$2
	shift 2
	loads=
	for disk; do
		/mnt/ld.so --library-path /mnt/lib /mnt/fio --name=load --filename="/dev/$disk" --direct=1 \
			--ioengine=libaio --rw=randrw --norandommap --iodepth="$depth" --bs="$bytes" \
			--time_based --runtime=10000 >/dev/null 2>&1 &
		loads="$loads $!"
		loading "$disk"
	done
}

# loading DISK: waits until there is something to measure
loading() {
	tries=0
	idle=$(cut -c 1-17 "/sys/block/$1/stat")
	until [ "$(cut -c 1-17 "/sys/block/$1/stat")" != "$idle" ] || [ $tries -ge 600 ]; do
		tries=$((tries + 1))
		usleep 100000
	done
}

leave_alone() {
	# shellcheck disable=SC2086 # a list of them
	kill $loads
	wait
}

# limit DISK KEY=VALUE ...: from now on. The dot tells the host that the line is whole.
limit() {
	echo "LIMIT $* ."
	read -r _
}

# gaps SECONDS DISK ...: the times in us between any two completions that follow each other
gaps() {
	seconds=$1
	shift
	devices=" "
	for disk; do
		devices="$devices$(tr : , <"/sys/block/$disk/dev") "
	done
	echo >$tracing/trace
	echo 1 >$tracing/tracing_on
	sleep "$seconds"
	echo 0 >$tracing/tracing_on
	awk -v devices="$devices" '
		{ sub(/^.*\] /, "") }
		$3 == "block_rq_complete:" && index(devices, " " $4 " ") {
			now = $2 * 1000000
			if (last)
				printf "%d\n", now - last
			last = now
		}' $tracing/trace
}

# summed_up [USUAL [FORGIVEN]]: reads gaps; says how many per second, how many per second there were but
# for what is forgiven: what a gap has beyond the usual one, and beyond what is made up for; and what
# gaps there are.
summed_up() {
	sort -n | awk -v usual="${1:-1e9}" -v late="${2:-0}" '
		{
			sum += gap[NR] = $1
			lost += $1 > usual + late ? $1 - usual - late : 0
		}
		END {
			if (!NR)
				print "0 0 IOPS"
			else
				printf "%.2f %.2f IOPS, %d gaps: p50 %d us, p99 %d us, max %d us\n", NR * 1e6 / sum,
					NR * 1e6 / (sum - lost), NR, gap[int((NR + 1) / 2)],
					gap[int(NR * 0.99 + 0.5)], gap[NR]
		}'
}

# Long enough for 120 requests, and for one that comes late at its end not to count.
window() {
	echo $((120 / $1 > 5 ? 120 / $1 : 5))
}

# within IOPS FROM TO: so many percent of what is wanted
within() {
	awk -v got="$1" -v want="$want" -v from="$2" -v to="$3" \
		'BEGIN { exit !(got >= want * from / 100 && got <= want * to / 100) }'
}

# expect_rate WANTED WHAT DISK ...: the disks do so many together, within two percent. A limit makes up
# for a tenth of a second that its thread comes late, and for a hundredth that the guest does: what a
# gap has beyond that, somebody else took from all of us; up to half.
expect_rate() {
	want=$1
	what=$2
	shift 2
	late=100000
	[ "$depth" -gt 1 ] || late=10000
	sleep 1
	for try in 1 2 3 4 5; do
		result=$(gaps "$(window "$want")" "$@" | summed_up $((1000000 / want)) $late)
		got=${result%% *}
		but=${result#* }
		if within "$got" 50 102 && within "${but%% *}" 98 1000; then
			echo "ok - $what: of $want $result (try $try)"
			return
		fi
		echo "# $what: of $want $result"
		within "$got" 0 105 || break
	done
	echo "not ok - $what: of $want $result"
}

# takes_turns WANTED DISK: about so many, whatever it is within a moment
takes_turns() {
	want=$1
	result=$(gaps 10 "$2" | summed_up)
	check "who take turns: of $want $result" within "${result%% *}" 70 140
}

# choose_limit DISK: far below what the disk does, where each request has a wake-up and an interrupt of
# its own
choose_limit() {
	sleep 2
	free=$(gaps 3 "$1" | summed_up)
	echo "# without a limit, depth $depth, $bytes bytes: $free"
	iops=$((${free%%.*} / 8))
	[ $iops -ge 5 ] || iops=5
	[ $iops -le 100 ] || iops=100
}

# at_depth DEPTH BYTES iops | bps
at_depth() {
	keep_busy "$1" "$2" vda
	choose_limit vda
	limit=$iops
	[ "$3" = iops ] || limit=$((iops * bytes))
	limit vda "$3=$limit"
	expect_rate $iops "depth $1, $3=$limit, $2 bytes" vda
	limit vda "$3=0"
	leave_alone
}

changed() {
	keep_busy 32 65536 vda
	choose_limit vda
	for limit in $iops $((2 * iops)) $((iops / 2)) 0 $iops; do
		limit vda "iops=$limit"
		if [ "$limit" = 0 ]; then
			want=$iops
			result=$(gaps 5 vda | summed_up)
			check "lifted: $result" within "${result%% *}" 250 1000000
		else
			expect_rate "$limit" "changed to $limit" vda
		fi
	done
	limit vda iops=0
	leave_alone
}

shared() {
	keep_busy 32 4096 vdb vdc
	choose_limit vdb
	limit vdb iops=$iops
	expect_rate $iops "a group of two" vdb vdc
	takes_turns $((iops / 2)) vdb
	limit vdc iops=$((2 * iops))
	expect_rate $((2 * iops)) "the group, changed by the other one" vdb vdc
	limit vdc iops=0
	leave_alone
}

test_limits() {
	mount -t ext4 -o ro /dev/vdd /mnt || return
	mount -t tracefs tracefs $tracing || return
	echo mono >$tracing/trace_clock
	echo 0 >$tracing/tracing_on
	echo 1 >$tracing/events/block/block_rq_complete/enable
	at_depth 1 4096 iops
	at_depth 32 4096 bps
	at_depth 256 4096 iops
	at_depth 1 65536 bps
	at_depth 256 65536 bps
	changed
	shared
	no_trouble
}

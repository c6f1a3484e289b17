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

# completions SECONDS DISK ...: when each was, in us
completions() {
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
		$3 == "block_rq_complete:" && index(devices, " " $4 " ") { printf "%.0f\n", $2 * 1000000 }
	' $tracing/trace
}

# summed_up: reads completions; says how many per second, and what gaps there are
summed_up() {
	awk 'NR > 1 { print $1 - last } { last = $1 }' | sort -n | awk '
		{ sum += gap[NR] = $1 }
		END {
			if (!NR)
				print "0 IOPS"
			else
				printf "%.2f IOPS, %d gaps: p50 %d us, p99 %d us, max %d us\n", NR * 1e6 / sum, NR,
					gap[int((NR + 1) / 2)], gap[int(NR * 0.99 + 0.5)], gap[NR]
		}'
}

# on_schedule IOPS LATE: reads completions; says in percent of IOPS how fast the limit's schedule runs, 0
# if that is not known. Who comes late makes up for it, and nobody is early: of some completions, the one
# that is the least late is on time, however busy the machine, and two of these say the rate. After a gap
# that is LATE us longer than usual the schedule begins anew: so it is the longest part without one.
on_schedule() {
	awk -v iops="$1" -v late="$2" '
		function on_time(from, to, i, best) {
			for (best = i = from; i < to; i++)
				if (at[i] - at[best] < (i - best) * 1000000 / iops)
					best = i
			return best
		}
		NR > 1 && $1 - at[NR - 1] > 1000000 / iops + late { begin = NR }
		{
			at[NR] = $1
			begin = begin ? begin : 1
			if (NR + 1 - begin > n) {
				n = NR + 1 - begin
				first = begin
			}
		}
		END {
			third = int(n / 3)
			if (third < 8) {
				print 0
				exit
			}
			a = on_time(first, first + third)
			b = on_time(first + n - third, first + n)
			printf "%.2f\n", (b - a) * 100000000 / iops / (at[b] - at[a])
		}'
}

# Long enough for 120 requests, and for one that comes late at its end not to count.
window() {
	echo $((120 / $1 > 5 ? 120 / $1 : 5))
}

# within GOT FROM TO
within() {
	awk -v got="$1" -v from="$2" -v to="$3" 'BEGIN { exit !(got >= from && got <= to) }'
}

# expect_rate WANTED WHAT DISK ...: the disks do so many together, within two percent. A machine that was
# too slow, or stood still, is looked at again.
expect_rate() {
	want=$1
	what=$2
	shift 2
	late=100000
	[ "$depth" -gt 1 ] || late=10000
	sleep 1
	wrong=0
	for try in 1 2 3 4 5 6 7 8 9 10 11 12; do
		completions "$(window "$want")" "$@" >/tmp/completions
		got=$(on_schedule "$want" $late </tmp/completions)
		result="$got % of $want, $(summed_up </tmp/completions)"
		if within "$got" 98 102; then
			echo "ok - $what: $result (try $try)"
			return
		fi
		echo "# $what: $result"
		[ "$got" = 0 ] || wrong=$((wrong + 1))
		[ $wrong -lt 4 ] || break
	done
	echo "not ok - $what: $result"
}

# takes_turns WANTED DISK: about so many, whatever it is within a moment
takes_turns() {
	want=$1
	result=$(completions 10 "$2" | summed_up)
	check "who take turns: of $want $result" within "${result%% *}" $((want * 7 / 10)) $((want * 14 / 10))
}

# choose_limit DISK: far below what the disk does, where each request has a wake-up and an interrupt of
# its own
choose_limit() {
	sleep 2
	free=$(completions 3 "$1" | summed_up)
	echo "# without a limit, depth $depth, $bytes bytes: $free"
	iops=$((${free%%.*} / 8))
	[ $iops -ge 5 ] || iops=5
	[ $iops -le 5000 ] || iops=5000
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
			result=$(completions 5 vda | summed_up)
			check "lifted: $result" within "${result%% *}" $((iops * 5 / 2)) 100000000
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

# shellcheck shell=dash
# SPDX-License-Identifier: Apache-2.0
#
# Cases in which fio loads the disks, for suite.sh, which has what they use.
#
# shellcheck disable=SC2154,SC2034 # what suite.sh sets

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

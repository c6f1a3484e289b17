# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# What a VM holds on its host, for the cases in which disks come and go: also those of ../linux.

# Descriptors, threads and address space. (That of ASan has terabytes, and grows by what it remembers.)
held_now() {
	find "/proc/$1/fd" -mindepth 1 -maxdepth 1 | wc -l
	find "/proc/$1/task" -mindepth 1 -maxdepth 1 | wc -l
	awk '/^VmSize:/ && $2 < 1e9 { print $2 }' "/proc/$1/status"
}

# holdings PID: once it has come to rest; a connection is closed a moment after its answer
holdings() {
	held=
	looks=0
	until now=$(held_now "$1") && [ "$now" = "$held" ]; do
		held=$now
		[ $((looks += 1)) -le 50 ] || break
		sleep 0.2
	done
	echo "$now"
}

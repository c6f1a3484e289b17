# SPDX-License-Identifier: Apache-2.0
#
# Reads the sandbox's rules (list.c) and one run's `strace -f -Y -e raw=all`; prints
#
#	used RULE	for each rule that allowed a call, as list.c has it
#	bad TEXT	for a call that no rule allows, a guest that ran before all threads were sealed,
#			and a trap
#
# With -v main=main_control main is one that has a control socket.
#
# A thread is held to its role from the end of its seccomp() on; one that was made by main in its
# sandbox, to main's until then.

function role_of(name) {
	if (name ~ /^vcpu[0-9]+$/)
		return "vcpu"
	if (name ~ /^blk-.*-w[0-9]+$/)
		return "worker"
	if (name ~ /^blk-/)
		return "disk"
	if (name == "console" || name == "ending" || name == "broker")
		return name
	return main ? main : "main"
}

# Main has forked before: the broker.
function seal(pid) {
	sealed[pid] = 1
	delete sealing[pid]
	delete inherited[pid]
	delete parents[pid]
}

# Which rule allows it: 0 for none
function rule_for(role, call, arg,	i, n, value) {
	n = count[role, call]
	for (i = 1; i <= n; i++) {
		value = want[role, call, i]
		if (at[role, call, i] < 0 || arg[at[role, call, i]] == value ||
		    (value == "pid" && arg[at[role, call, i]] in process))
			return i
	}
	return 0
}

# awk has no hexadecimal numbers: both sides are compared as strace and printf write them.
FNR == NR {
	n = split($2, names, "|")
	for (i = 1; i <= n; i++) {
		k = ++count[$1, names[i]]
		at[$1, names[i], k] = $3
		want[$1, names[i], k] = $4
		text[$1, names[i], k] = $1 " " $2 " " $3 " " $4
	}
	next
}

{
	pid = $1 + 0
	name = $0
	sub(/^[0-9]+</, "", name)
	sub(/>.*/, "", name)
	line = $0
	sub(/^[0-9]+<[^>]*> +/, "", line)
	if (!(pid in seen)) {
		seen[pid] = 1
		if (running)
			sealed[pid] = inherited[pid] = 1
		process[sprintf("%#x", pid)] = 1
	}
}

/ --- SIGSYS/ {
	print "bad " name ": " line
}

# Resumed calls have been looked at when they began, and the last of a thread before its filter is
# seccomp() itself.
line ~ /^<\.\.\. / || line ~ /^(---|\+\+\+)/ {
	if (line ~ /^<\.\.\. seccomp resumed/ && pid in sealing)
		seal(pid)
	if (line ~ /^\+\+\+/)
		gone[pid] = 1
	next
}

{
	call = line
	sub(/\(.*/, "", call)
	list = line
	sub(/^[a-z0-9_]+\(/, "", list)
	sub(/( <unfinished|\) += ).*/, "", list)
	delete arg
	n = split(list, parts, ", ")
	for (i = 1; i <= n; i++)
		arg[i - 1] = parts[i]
}

sealed[pid] {
	role = pid in inherited ? (main ? main : "main") : role_of(name)
	k = rule_for(role, call, arg)
	if (k) {
		used[pid, ++nused[pid]] = text[role, call, k]
	} else {
		bad[++nbad] = "bad " role " (" name "): " line
		bad_by[nbad] = pid
	}
}

# KVM_RUN
call == "ioctl" && arg[1] == "0xae80" {
	running = 1
	for (p in seen)
		if (!sealed[p] && !gone[p] && !(p in parents))
			print "bad the guest runs, thread " p " is not in its sandbox yet"
}

# A process, by the signal of its end; perhaps another boot.
(call == "clone" && arg[0] ~ /11$/) || call == "fork" || call == "vfork" {
	parents[pid] = 1
	running = 0
}

# 0x1: a filter; the rest asks what filters can do.
call == "seccomp" && arg[0] == "0x1" {
	if (line ~ /unfinished/)
		sealing[pid] = 1
	else
		seal(pid)
}

# Who forks under its filter is the parent of boots: that filter has no list of what it may.
END {
	for (i = 1; i <= nbad; i++)
		if (!(bad_by[i] in parents))
			print bad[i]
	for (p in nused)
		for (i = 1; !(p in parents) && i <= nused[p]; i++)
			once[used[p, i]] = 1
	for (rule in once)
		print "used " rule
}

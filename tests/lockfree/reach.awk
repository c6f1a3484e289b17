# SPDX-License-Identifier: Apache-2.0
#
# What a function can reach, by following every call and every reference from function to function:
#
#	{ nm -A -g --defined-only ARCHIVE; objdump -dr ARCHIVE; } | awk -v root=FUNCTION -f reach.awk
#
# Prints `SYMBOL OBJECT:FUNCTION` for each symbol from outside the archive, with the first place found
# that wants it. A call through a pointer could go anywhere: it is printed as `*`, and so is a jump
# that is not one of a table of the compiler's.

# archive:object.o:0123456789abcdef T name
NF == 3 && $1 ~ /\.o:[0-9a-f]+$/ {
	split($1, part, ":")
	home[$3] = part[2]
	next
}

/file format/ {
	object = $1
	sub(/:$/, "", object)
	next
}

# 0123456789abcdef <function>:
/^[0-9a-f]+ <.*>:$/ {
	name = substr($2, 2, length($2) - 3)
	here = object ":" name
	known[here] = 1
	whole = name
	if (sub(/\.(cold|part|isra|constprop).*/, "", whole))
		edges[object ":" whole] = edges[object ":" whole] " " name
	next
}

# A relocation: offset, type, symbol with an addend. Sections are tables and strings, or a part of
# this function that the compiler has put elsewhere.
/^[ \t]+[0-9a-f]+: R_/ {
	symbol = $3
	sub(/[-+]0x[0-9a-f]+$/, "", symbol)
	if (symbol ~ /^\.rodata/)
		table[here] = 1
	if (symbol == ".text")
		edges[here] = edges[here] " *"
	else if (symbol !~ /^\./)
		edges[here] = edges[here] " " symbol
	next
}

# An instruction that goes to a function of the same object.
match($0, /<[^>]+>$/) {
	target = substr($0, RSTART + 1, RLENGTH - 2)
	sub(/\+0x[0-9a-f]+$/, "", target)
	if (target != name)
		edges[here] = edges[here] " " target
}
/call +\*|\tblr/ {
	edges[here] = edges[here] " *"
}
/jmp +\*|\tbr\t/ {
	jumps[here] = 1
}

function visit(where, from, list, n, i, to, own) {
	if (where in seen)
		return
	seen[where] = 1
	own = where
	sub(/:.*/, "", own)
	if ((where in jumps) && !(where in table))
		wants["*"] = where
	n = split(edges[where], list, " ")
	for (i = 1; i <= n; i++) {
		to = list[i]
		if ((own ":" to) in known)
			visit(own ":" to)
		else if (to in home && (home[to] ":" to) in known)
			visit(home[to] ":" to)
		else if (!(to in home) && !(to in wants))
			wants[to] = where
	}
}

END {
	visit(home[root] ":" root)
	for (to in wants)
		print to, wants[to]
}

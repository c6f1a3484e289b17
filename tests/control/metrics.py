#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads GET /metrics on standard input as strictly as Prometheus's text form 0.0.4 may be read, and as
promtool would like it: prints what is wrong, status 1 if anything is. Families are named on the
command line if they have to be there.
"""
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")
TYPES = {"counter", "gauge", "histogram"}
SUFFIXES = ("_bucket", "_sum", "_count")


class Reader:
    def __init__(self):
        self.faults = []
        self.types = {}
        self.helps = set()
        self.closed = set()  # families that others have followed
        self.current = None
        self.samples = {}  # name and labels: value

    def fault(self, number, text):
        self.faults.append(f"line {number}: {text}")

    def enter(self, number, family):
        if family == self.current:
            return
        if self.current:
            self.closed.add(self.current)
        if family in self.closed:
            self.fault(number, f"{family} comes back after others")
        self.current = family

    def comment(self, number, line):
        m = re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.+)", line)
        if not m:
            self.fault(number, "a comment that is neither HELP nor TYPE")
            return
        kind, family, text = m.groups()
        self.enter(number, family)
        if kind == "HELP":
            if family in self.helps:
                self.fault(number, f"{family} has two HELP")
            self.helps.add(family)
            return
        if family in self.types:
            self.fault(number, f"{family} has two TYPE")
        if text not in TYPES:
            self.fault(number, f"{family}: type {text}")
        if text == "counter" and not family.endswith("_total"):
            self.fault(number, f"{family}: a counter's name ends with _total")
        if text != "counter" and family.endswith("_total"):
            self.fault(number, f"{family}: only a counter's name ends with _total")
        self.types[family] = text

    def family_of(self, name):
        for suffix in SUFFIXES:
            base = name[: -len(suffix)]
            if name.endswith(suffix) and self.types.get(base) == "histogram":
                return base
        return name

    def sample(self, number, line):
        m = SAMPLE.fullmatch(line)
        if not m:
            self.fault(number, f"not a sample: {line}")
            return
        name, labels, text = m.groups()
        family = self.family_of(name)
        self.enter(number, family)
        if not name.startswith("mvmm_"):
            self.fault(number, f"{name}: not ours")
        if family not in self.types or family not in self.helps:
            self.fault(number, f"{name}: HELP and TYPE come first")
        pairs = tuple(sorted(re.findall(LABEL, labels or "")))
        names = [p.split("=", 1)[0] for p in pairs]
        if len(set(names)) != len(names):
            self.fault(number, f"{name}: a label twice")
        if (name, pairs) in self.samples:
            self.fault(number, f"{name}: the same labels twice")
        try:
            value = float(text)
        except ValueError:
            self.fault(number, f"{name}: {text} is no number")
            return
        if not value >= 0:
            self.fault(number, f"{name}: {text}")
        self.samples[name, pairs] = value

    def series(self, family):
        """Buckets of each series of a histogram, in their order."""
        found = {}
        for (name, pairs), value in self.samples.items():
            if name != family + "_bucket":
                continue
            le = [p[4:-1] for p in pairs if p.startswith("le=")]
            rest = tuple(p for p in pairs if not p.startswith("le="))
            found.setdefault(rest, []).append((le[0] if le else "", value))
        return found

    def histogram(self, family):
        for rest, buckets in self.series(family).items():
            where = f"{family}{{{','.join(rest)}}}"
            bounds = [float(le) for le, _ in buckets if le]
            counts = [value for _, value in buckets]
            if bounds != sorted(set(bounds)) or not bounds or bounds[-1] != float("inf"):
                self.faults.append(f"{where}: buckets {bounds}")
            if counts != sorted(counts):
                self.faults.append(f"{where}: counts are not cumulative")
            if self.samples.get((family + "_count", rest)) != counts[-1]:
                self.faults.append(f"{where}: _count is not that of +Inf")
            if (family + "_sum", rest) not in self.samples:
                self.faults.append(f"{where}: no _sum")

    def read(self, text):
        if not text.endswith("\n"):
            self.faults.append("the last line has no end")
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("#"):
                self.comment(number, line)
            else:
                self.sample(number, line)
        for family, kind in self.types.items():
            if kind == "histogram":
                self.histogram(family)


def main():
    reader = Reader()
    reader.read(sys.stdin.read())
    for family in sys.argv[1:]:
        if family not in reader.types:
            reader.faults.append(f"{family} is not there")
    print("\n".join(reader.faults), end="\n" if reader.faults else "")
    return 1 if reader.faults else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""What is measured, and what it is held against."""

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Case:
    fs: str  # "tmpfs" or "disk"
    disks: int
    depth: int
    rw: str
    complete: str  # see guest/bench: irq, busy, poll

    def words(self, *more):
        plural = "s" if self.disks > 1 else ""
        how = {"irq": "sleeping guest", "busy": "interrupts", "poll": "polling guest"}
        return ", ".join((self.fs, f"{self.disks} disk{plural}", self.rw) + more
                         + (how[self.complete],))

    def __str__(self):
        return self.words(f"depth {self.depth}")

    def load(self):
        """All but the depth."""
        return self.words()

    def place(self):
        """In the order in which people read about them."""
        return (self.fs != "tmpfs", ("busy", "irq", "poll").index(self.complete), "rand" not in self.rw,
                self.disks, self.rw, self.depth)


def case(depth, fs="tmpfs", disks=1, rw="randread", complete="busy"):
    return Case(fs, disks, depth, rw, complete)


@dataclass(frozen=True)
class Target:
    """`runner` against the best (or, of costs, the least) of `peers`, in `metric`."""

    text: str
    case: Case
    runner: str
    peers: tuple
    metric: str
    at_least: float = None
    at_most: float = None


TARGETS = [
    Target("PCI, depth 1, against QEMU PCI native", case(1), "mvmm-pci", ("qemu-pci",), "iops",
           at_least=1.2),
    Target("PCI, depth 32, against QEMU PCI native", case(32), "mvmm-pci", ("qemu-pci",), "iops",
           at_least=1.5),
    Target("PCI, depth 256, against QEMU PCI native", case(256), "mvmm-pci", ("qemu-pci",), "iops",
           at_least=2.0),
    Target("PCI, depth 32, against fio libaio", case(32), "mvmm-pci", ("fio-libaio",), "iops",
           at_least=0.85),
    Target("PCI, depth 256, against fio libaio", case(256), "mvmm-pci", ("fio-libaio",), "iops",
           at_least=1.1),
    Target("PCI, depth 1, polling guest, against QEMU PCI native", case(1, complete="poll"),
           "mvmm-pci", ("qemu-pci",), "iops", at_least=2.0),
    Target("MMIO, depth 1, against QEMU microvm", case(1), "mvmm-mmio", ("qemu-microvm",), "iops",
           at_least=3.5),
    Target("MMIO, depth 32, against QEMU microvm", case(32), "mvmm-mmio", ("qemu-microvm",),
           "iops", at_least=2.5),
    Target("7 disks on one core, depth 1, against QEMU, an iothread each", case(1, disks=7),
           "mvmm-pci", ("qemu-pci",), "iops", at_least=1.5),
    Target("7 disks on one core, depth 1, against QEMU, one iothread", case(1, disks=7),
           "mvmm-pci", ("qemu-pci-shared",), "iops", at_least=0.9),
    Target("7 disks on one core, depth 32, against the better of the two", case(32, disks=7),
           "mvmm-pci", ("qemu-pci", "qemu-pci-shared"), "iops", at_least=1.5),
    Target("p99 latency, PCI, depth 32, against QEMU PCI native", case(32), "mvmm-pci",
           ("qemu-pci",), "p99", at_most=0.7),
    Target("disk file system, depth 1, against fio libaio", case(1, fs="disk"), "mvmm-pci",
           ("fio-libaio",), "iops", at_least=0.9),
    Target("host CPU per I/O, depth 32, polling off, against QEMU PCI native", case(32),
           "mvmm-pci-nopoll", ("qemu-pci",), "cpu_us", at_most=0.6),
    Target("an overlay that is read through, depth 32, against the disk without", case(32),
           "mvmm-overlay", ("mvmm-pci",), "iops", at_least=0.9),
    Target("an overlay that is written to, depth 32, against the disk without",
           case(32, rw="randwrite"), "mvmm-overlay", ("mvmm-pci",), "iops", at_least=0.9),
    Target("disk file system, an overlay that is written to, depth 32, against the disk without",
           case(32, fs="disk", rw="randwrite"), "mvmm-overlay", ("mvmm-pci",), "iops",
           at_least=0.9),
    Target("system calls of the disk's thread per I/O, depth 256", case(256), "mvmm-pci", (),
           "syscalls", at_most=0.05),
]

GUESTS = ("mvmm-pci", "mvmm-mmio", "qemu-pci", "qemu-pci-shared", "qemu-pci-uring", "qemu-microvm")
HOST = ("fio-libaio", "fio-uring")
ON_DISK = ("mvmm-pci", "qemu-pci", "qemu-pci-uring") + HOST


def quick():
    """What the targets need, and no more."""
    wanted = {}
    for target in TARGETS:
        names = wanted.setdefault(target.case, [])
        for name in (target.runner,) + target.peers:
            if name not in names:
                names.append(name)
    return in_order(wanted)


def in_order(wanted):
    return {c: wanted[c] for c in sorted(wanted, key=Case.place)}


def add(wanted, cases, names):
    for c in cases:
        known = wanted.setdefault(c, [])
        known += [name for name in names if name not in known]


def full():
    wanted = quick()
    rws, depths = ("randread", "randwrite"), (1, 32, 256)
    add(wanted, (Case("tmpfs", n, d, rw, "busy") for n, rw, d in product((1, 7), rws, depths)),
        GUESTS + HOST)
    add(wanted, (Case("tmpfs", 1, d, rw, "poll") for rw, d in product(rws, depths)), GUESTS)
    add(wanted, (Case("tmpfs", n, d, "randread", "irq") for n, d in product((1, 7), depths)),
        GUESTS)
    add(wanted, (Case("disk", n, d, rw, "busy") for n, rw, d in product((1, 7), rws, (1, 32))),
        ON_DISK)
    add(wanted, (Case(fs, 1, 32, rw, "busy")
                 for fs, rw in product(("tmpfs", "disk"), ("read", "write"))),
        ("mvmm-pci", "qemu-pci", "fio-libaio"))
    return in_order(wanted)

# SPDX-License-Identifier: Apache-2.0
"""
Who is measured: one class for each way of doing the same I/O. Each starts one process, waits for it
and returns what it measured.

The same for all: the vCPU on one host CPU, every other thread on another (fio, which has no vCPU,
on the other alone); the same guest (guest/bench) with the same command line; O_DIRECT.
"""

import json
import os
import re
import select
import shutil
import subprocess
import tempfile
import time

WARMUP = 0.3  # seconds, as the guest has it
LIMIT = float(os.environ.get("LIMIT", "30"))  # seconds for all but the measuring
GUEST_KEYS = ("ios", "errors", "kicks", "irqs", "passes", "mean", "p50", "p99", "p999", "max")


class Failed(Exception):
    pass


def threads(pid):
    """(tid, name) of every thread; none if the process is gone."""
    try:
        tids = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for tid in tids:
        try:
            with open(f"/proc/{pid}/task/{tid}/comm") as f:
                yield int(tid), f.read().strip()
        except OSError:
            pass


def is_vcpu(name):
    return name.startswith("vcpu") or name.startswith("CPU ")


def misplaced(pid, host):
    """Threads that are not where the comparison wants them: a vCPU's, a disk's, an iothread's."""
    for tid, name in threads(pid):
        io = name.startswith(("blk-", "IO "))
        try:
            if (is_vcpu(name) or io) and os.sched_getaffinity(tid) != {
                    host.io_cpu if io else host.vcpu_cpu}:
                yield name
        except OSError:
            pass


def host_cpu_ns(pid):
    """CPU time of everything but the vCPUs: what the I/O costs the host besides the guest."""
    total = 0
    for tid, name in threads(pid):
        if is_vcpu(name):
            continue
        try:
            with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
                total += int(f.read().split()[0])
        except (OSError, IndexError):
            pass
    return total


class Process:
    """One measured process: its output, and its CPU share in the middle of the measurement."""

    def __init__(self, argv, host):
        self.out = tempfile.TemporaryFile()
        self.err = tempfile.TemporaryFile()
        self.argv = argv
        self.host = host
        self.samples = []
        self.misplaced = []
        self.start = time.monotonic()
        self.popen = subprocess.Popen(
            ["taskset", "-c", str(host.io_cpu)] + argv,
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err)
        self.pidfd = os.pidfd_open(self.popen.pid)

    def pin_vcpus(self):
        """QEMU does not do it itself. Its threads are named by debug-threads=on."""
        while self.popen.poll() is None and time.monotonic() < self.start + LIMIT:
            found = [tid for tid, name in threads(self.popen.pid) if is_vcpu(name)]
            for tid in found:
                os.sched_setaffinity(tid, {self.host.vcpu_cpu})
            if found:
                return
            time.sleep(0.002)

    def ended(self, seconds):
        return bool(select.select([self.pidfd], [], [], seconds)[0])

    def finish(self, seconds):
        """Waits for the end, with a look at the CPU time now and then."""
        limit = self.start + seconds + LIMIT
        while not self.ended(seconds / 8):
            self.samples.append((time.monotonic(), host_cpu_ns(self.popen.pid)))
            self.misplaced = list(misplaced(self.popen.pid, self.host))
            if time.monotonic() > limit:
                self.popen.kill()
                self.popen.wait()
                os.close(self.pidfd)
                raise Failed("did not end: " + " ".join(self.argv))
        self.end = time.monotonic()
        self.popen.wait()
        os.close(self.pidfd)
        if self.misplaced:
            raise Failed("on other CPUs than the rest: " + ", ".join(self.misplaced))
        self.out.seek(0)
        return self.out.read().decode(errors="replace")

    def cpu_share(self, seconds):
        """Of the part of its life in which it certainly measured: the end, but for the report."""
        inside = [s for s in self.samples
                  if self.end - seconds < s[0] < self.end - 0.1 * seconds]
        if len(inside) < 2 or inside[-1][1] <= inside[0][1]:
            return None
        return (inside[-1][1] - inside[0][1]) / 1e9 / (inside[-1][0] - inside[0][0])

    def complaint(self):
        self.err.seek(0)
        text = self.err.read().decode(errors="replace").strip()
        return f"{' '.join(self.argv)}: status {self.popen.returncode}: {text[-500:]}"


def with_cpu(result, share):
    if result["errors"]:
        raise Failed(f"{result['errors']} requests failed")
    if not result["iops"]:
        raise Failed("not one I/O was completed")
    result["cpu_us"] = share / result["iops"] * 1e6 if share else None
    return result


def guest_cmdline(case, seconds):
    return (f"rw={case.rw} bs=4096 depth={case.depth} complete={case.complete} "
            f"time={int(seconds * 1000)}")


def parse_guest(text):
    line = re.search(r"^total us=(\d+) (.*)$", text, re.M)
    if not line or "bench end" not in text:
        raise Failed("the guest did not report: " + text[-300:])
    values = dict(word.split("=") for word in line[2].split())
    result = {key: int(values[key]) for key in GUEST_KEYS}
    result["iops"] = result["ios"] * 1e6 / int(line[1])
    return result


def parse_fio(text, rw):
    job = json.loads(text[text.index("{"):])["jobs"][0]
    side = job["read" if "read" in rw else "write"]
    percentile = side["lat_ns"].get("percentile", {})
    return {"ios": side["total_ios"], "errors": job["error"], "iops": side["iops"],
            "mean": side["lat_ns"]["mean"], "max": side["lat_ns"]["max"],
            "p50": percentile.get("50.000000"), "p99": percentile.get("99.000000"),
            "p999": percentile.get("99.900000")}


class Mvmm:
    needs = None

    def __init__(self, name, label, transport, disk_options=""):
        self.name, self.label = name, label
        self.transport, self.disk_options = transport, disk_options

    def runs(self, case):
        return True

    def run(self, case, images, seconds, host):
        argv = [host.mvmm, "bench", "--json", "--transport", self.transport, "--rw", case.rw,
                "--depth", str(case.depth), "--complete", case.complete, "--time", str(seconds),
                "--vcpu-affinity", str(host.vcpu_cpu)]
        for image in images:
            options = self.disk_options.replace("FOLDER", os.path.dirname(image))
            argv += ["--disk", f"{image},cpu={host.io_cpu}{options}"]
        process = Process(argv, host)
        text = process.finish(seconds)
        if process.popen.returncode:
            raise Failed(process.complaint())
        total = json.loads(text)["total"]
        result = {key: total.get(key, total.get(key + "_ns")) for key in GUEST_KEYS}
        result["iops"] = total["iops"]
        result["engine"] = total["engine"]
        return with_cpu(result, process.cpu_share(seconds))


class Qemu:
    needs = "qemu-system-x86_64"

    def __init__(self, name, label, aio="native", shared=False, machine="q35"):
        self.name, self.label = name, label
        self.aio, self.shared, self.machine = aio, shared, machine

    def runs(self, case):
        return True

    def machine_args(self):
        if self.machine == "microvm":
            # Without ACPI it writes its devices on the command line, for whoever reads that.
            return ["-M", "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,acpi=off",
                    "-global", "virtio-mmio.force-legacy=false"]
        return ["-M", "q35"]

    def disk_args(self, i, image):
        io = "io0" if self.shared else f"io{i}"
        device = "virtio-blk-device" if self.machine == "microvm" else "virtio-blk-pci"
        modern = "" if self.machine == "microvm" else ",disable-legacy=on"
        return ["-drive", f"if=none,id=d{i},file={image},format=raw,cache=none,aio={self.aio}",
                "-device", f"{device},drive=d{i},iothread={io}{modern}"]

    def run(self, case, images, seconds, host):
        argv = [self.needs, "-name", "bench,debug-threads=on", "-accel", "kvm",
                "-cpu", host.qemu_cpu, "-m", "256", "-nodefaults", "-no-user-config",
                "-display", "none", "-no-reboot", "-serial", "stdio",
                "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
                "-kernel", host.guest, "-append", guest_cmdline(case, seconds)]
        argv += self.machine_args()
        for i in range(1 if self.shared else len(images)):
            argv += ["-object", f"iothread,id=io{i}"]
        for i, image in enumerate(images):
            argv += self.disk_args(i, image)
        process = Process(argv, host)
        process.pin_vcpus()
        text = process.finish(seconds)
        if process.popen.returncode != 0x10 << 1 | 1:
            raise Failed(process.complaint() + " " + text[-300:])
        return with_cpu(parse_guest(text), process.cpu_share(seconds))


class Fio:
    """What the host does with the same files without any guest, on one CPU."""

    needs = "fio"

    def __init__(self, name, label, engine):
        self.name, self.label, self.engine = name, label, engine

    def runs(self, case):
        return case.complete == "busy"

    def run(self, case, images, seconds, host):
        argv = ["fio", f"--ioengine={self.engine}", "--direct=1", "--bs=4k", f"--rw={case.rw}",
                f"--iodepth={case.depth}", "--time_based", f"--runtime={int(seconds * 1000)}ms",
                f"--ramp_time={int(WARMUP * 1000)}ms", "--thread", "--norandommap",
                "--randrepeat=0", "--lat_percentiles=1", "--group_reporting",
                "--output-format=json"]
        for i, image in enumerate(images):
            argv += [f"--name=job{i}", f"--filename={image}"]
        process = Process(argv, host)
        text = process.finish(seconds)
        if process.popen.returncode:
            raise Failed(process.complaint())
        return with_cpu(parse_fio(text, case.rw), process.cpu_share(seconds))


RUNNERS = [
    Mvmm("mvmm-pci", "mvmm, PCI", "pci"),
    Mvmm("mvmm-pci-nopoll", "mvmm, PCI, polling off", "pci", ",poll-max-us=0"),
    Mvmm("mvmm-overlay", "mvmm, PCI, an overlay", "pci", ",overlay=temp:FOLDER"),
    Mvmm("mvmm-mmio", "mvmm, MMIO", "mmio"),
    Qemu("qemu-pci", "QEMU q35, an iothread per disk, native"),
    Qemu("qemu-pci-shared", "QEMU q35, one iothread, native", shared=True),
    Qemu("qemu-pci-uring", "QEMU q35, an iothread per disk, io_uring", aio="io_uring"),
    Qemu("qemu-microvm", "QEMU microvm, an iothread per disk, native", machine="microvm"),
    Fio("fio-libaio", "host: fio libaio", "libaio"),
    Fio("fio-uring", "host: fio io_uring", "io_uring"),
]


def installed(runner):
    return runner.needs is None or shutil.which(runner.needs) is not None

# SPDX-License-Identifier: Apache-2.0
"""What a run leaves: a page of text, JSON with every repetition, and the picture."""

import json
import os
from dataclasses import dataclass

import cases
import report
import svg
from runners import RUNNERS

LABELS = {r.name: r.label for r in RUNNERS}


@dataclass
class Run:
    machine: dict
    settings: dict
    wanted: dict  # case: names of runners
    results: dict  # (case, name): a dict for each repetition
    starts: list
    missing: list  # lines: what could not be measured here
    failed: list  # lines: runs that are in no figure


def machine_text(m):
    ring0 = {True: "natively", False: "by emulation, one instruction at a time", None: "?"}
    plural = "s" if m["cpus"] > 1 else ""
    return (f"{m['machine']}, {m['cpus']} CPU{plural}, {m['memory_gib']} GiB, Linux {m['kernel']}; KVM "
            f"runs the guest's ring 0 {ring0[m['kvm_runs_ring0_natively']]}. "
            + ", ".join(filter(None, (m["mvmm"], m["qemu"], m["fio"]))) + ".")


def how_often(settings):
    if settings["reps"] == 1:
        return f"One run of {settings['seconds']:g} s each."
    return (f"{settings['reps']} repetitions of {settings['seconds']:g} s, interleaved; medians; "
            "ranges are minimum and maximum.")


def listed(heading, lines):
    return f"{heading}:\n\n" + "\n".join(f"* {line}" for line in lines) + "\n" if lines else ""


def startup_table(rows):
    if not rows:
        return ""
    lines = ["| from exec to the guest's first byte | ms | range | PSS beyond guest RAM, KiB |",
             "|---|---|---|---|"]
    lines += [f"| {r['name']} | {r['ms']:.1f} | {r['min_ms']:.1f}-{r['max_ms']:.1f} | "
              f"{r['pss_kib']:.0f} |" for r in rows]
    return "\n".join(lines) + "\n"


def text(run):
    parts = [f"Machine: {machine_text(run.machine)}\n{how_often(run.settings)}\n",
             listed("Left out", run.missing),
             listed("Failed, and in none of the figures", run.failed),
             report.target_table(cases.TARGETS, run.results) + "\n",
             report.case_tables(run.wanted, LABELS, run.results),
             startup_table(run.starts)]
    return "\n".join(filter(None, parts))


def points(run):
    for c, names in run.wanted.items():
        for n in names:
            if found := run.results.get((c, n)):
                yield {"fs": c.fs, "disks": c.disks, "depth": c.depth, "rw": c.rw,
                       "complete": c.complete, "runner": n,
                       "iops": report.median(found, "iops"), "runs": found}


def as_json(run):
    targets = [{"text": t.text, "at_least": t.at_least, "at_most": t.at_most,
                "value": judged[0], "range": judged[1], "met": judged[2]}
               for t in cases.TARGETS if (judged := report.judge(t, run.results))]
    return json.dumps({"machine": run.machine, "settings": run.settings, "left_out": run.missing,
                       "failed": run.failed, "targets": targets, "points": list(points(run)),
                       "startup": run.starts}, indent=1) + "\n"


def picture(run):
    return svg.render(cases.TARGETS, run.wanted, LABELS, run.results)


def put(path, content):
    with open(path, "w", encoding="utf-8") as f:
        f.write(content)


def write_all(folder, run):
    os.makedirs(folder, exist_ok=True)
    put(f"{folder}/results.json", as_json(run))
    put(f"{folder}/results.svg", picture(run))
    put(f"{folder}/results.md", text(run))


def update_doc(folder, run):
    """The page between its markers, and its picture."""
    with open(f"{folder}/performance.md", encoding="utf-8") as f:
        doc = f.read()
    begin, end = "<!-- results -->\n", "<!-- end of results -->"
    at = doc.index(begin) + len(begin)
    put(f"{folder}/performance.md", doc[:at] + "\n" + text(run) + "\n" + doc[doc.index(end):])
    put(f"{folder}/performance.svg", picture(run))

# SPDX-License-Identifier: Apache-2.0
"""Medians, ratios and tables, in Markdown, which reads well on a terminal, too."""

import statistics


def syscalls_per_io(result):
    """By the disk's own counters: submits, sleeps, wake-ups read, interrupts written."""
    e = result.get("engine")
    if not e or not e["requests"]:
        return None
    return (e["submits"] + e["sleeps"] + e["kicks"] + e["interrupts"]) / e["requests"]


def values(results, metric):
    if metric == "syscalls":
        found = [syscalls_per_io(r) for r in results]
    else:
        found = [r.get(metric) for r in results]
    return [v for v in found if v is not None]


def median(results, metric):
    found = values(results, metric)
    return statistics.median(found) if found else None


def ratios(own, peers, metric, best):
    """Of each repetition in which all were measured, to the best of its peers."""
    for result in own:
        same = [[r for r in peer if r["rep"] == result["rep"]] for peer in peers]
        found = [values(r, metric) for r in same]
        mine = values([result], metric)
        if mine and all(found):
            yield mine[0] / best(f[0] for f in found)


def judge(target, results):
    """(value, its range over the repetitions, met) or None if something was not measured."""
    own = results.get((target.case, target.runner), [])
    peers = [results.get((target.case, p), []) for p in target.peers]
    best = min if target.at_most else max
    if not all(values(r, target.metric) for r in [own] + peers):
        return None
    value = median(own, target.metric)
    spread = values(own, target.metric)
    if peers:
        value /= best(median(p, target.metric) for p in peers)
        spread = list(ratios(own, peers, target.metric, best)) or [value]
    met = value >= target.at_least if target.at_least else value <= target.at_most
    return value, (min(spread), max(spread)), met


def target_table(targets, results):
    lines = ["| measure | target | measured | range | |", "|---|---|---|---|---|"]
    for t in targets:
        bound = f"at least {t.at_least}" if t.at_least else f"at most {t.at_most}"
        unit = "x" if t.peers else ""
        judged = judge(t, results)
        if judged is None:
            lines.append(f"| {t.text} | {bound}{unit} | not measured | | |")
            continue
        value, (low, high), met = judged
        lines.append(f"| {t.text} | {bound}{unit} | {value:.2f}{unit} | {low:.2f}-{high:.2f} | "
                     f"{'met' if met else 'MISSED'} |")
    return "\n".join(lines)


def kilo(value):
    return f"{value / 1e3:.1f}" if value < 100e3 else f"{value / 1e3:.0f}"


def micro(value):
    return "" if value is None else f"{value / 1e3:.0f}" if value >= 1e5 else f"{value / 1e3:.1f}"


def case_rows(case, names, labels, results):
    first = next((results[case, n] for n in names if results.get((case, n))), None)
    base = median(first, "iops") if first else None
    for name in names:
        found = results.get((case, name))
        if not found:
            continue
        iops, all_iops = median(found, "iops"), values(found, "iops")
        cpu = median(found, "cpu_us")
        yield (f"| {labels[name]} | {kilo(iops)} | {kilo(min(all_iops))}-{kilo(max(all_iops))} | "
               f"{iops / base:.2f} | {micro(median(found, 'p50'))} | "
               f"{micro(median(found, 'p99'))} | {micro(median(found, 'p999'))} | "
               f"{'' if cpu is None else f'{cpu:.2f}'} |")


def case_tables(wanted, labels, results):
    parts = []
    for case, names in wanted.items():
        rows = list(case_rows(case, names, labels, results))
        if rows:
            parts.append(f"{case}:\n\n| | kIOPS | range | ratio | p50 us | p99 us | p99.9 us | "
                         f"host CPU us per I/O |\n|---|---|---|---|---|---|---|---|\n"
                         + "\n".join(rows) + "\n")
    return "\n".join(parts)

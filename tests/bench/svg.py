# SPDX-License-Identifier: Apache-2.0
"""
The picture: on top how far each target is met; below a row for each load, a column for each depth, and
in there a bar for each runner, its whisker from minimum to maximum. Bars of one panel share a scale.
"""

from xml.sax.saxutils import escape

import report

WIDTH, LABEL, MARGIN = 1200, 310, 16
BAR, STEP, HEAD = 11, 15, 24
VALUE = 62  # room behind the longest bar
COLOURS = (("mvmm", "#1b7f4d"), ("qemu", "#8a8f98"), ("fio", "#c9a227"))
MET, MISSED = "#1b7f4d", "#c0392b"
MOST = 2.0  # times the target, as far as that bar goes


def colour(name):
    return next(c for prefix, c in COLOURS if name.startswith(prefix))


def text(x, y, words, extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {extra}>{escape(words)}</text>'


def right(x, y, words, extra=""):
    return text(x, y, words, 'text-anchor="end" ' + extra)


def rect(x, y, width, fill):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{BAR}" fill="{fill}"/>'


def target_bar(y, target, judged):
    """How many times better than asked: up to the line is missed."""
    value, _, met = judged
    best = value / target.at_least if target.at_least else target.at_most / max(value, 1e-9)
    scale = (WIDTH - 2 * LABEL - MARGIN - 2 * VALUE) / MOST
    x, fill = 2 * LABEL, MET if met else MISSED
    length = min(best, MOST) * scale
    unit = "x" if target.peers else ""
    asked = f"of {target.at_least:g}" if target.at_least else f"of at most {target.at_most:g}"
    return [right(x - 8, y + 10, target.text),
            rect(x, y, length, fill),
            f'<path d="M{x + scale:.1f} {y - 2}v{STEP}" stroke="#222"/>',
            text(x + max(length, scale) + 6, y + 10,
                 f"{value:.2f}{unit} {asked}{unit}", f'fill="{fill}"')]


def targets_part(y, targets, results):
    found = [(t, judged) for t in targets if (judged := report.judge(t, results))]
    if not found:
        return y, []
    met = sum(judged[2] for _, judged in found)
    title = f"Targets: {met} of {len(found)} measured are met: those that pass the line"
    parts = [text(MARGIN, y + 14, title, 'font-size="15" font-weight="bold"')]
    y += HEAD + 4
    for target, judged in found:
        parts += target_bar(y, target, judged)
        y += STEP
    return y + 14, parts


def whisker(y, low, high):
    middle = y + BAR / 2
    return (f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 3}v6'
            f'M{high:.1f} {middle - 3}v6" stroke="#222" fill="none"/>')


def panel(x, y, room, names, found):
    """`found`: results by name. A runner that was not measured has a dash where its bar would be."""
    parts = []
    top = max(max(report.values(r, "iops")) for r in found.values())
    scale = (room - VALUE) / top
    for i, name in enumerate(names):
        at = y + i * STEP
        if name not in found:
            parts.append(text(x + 2, at + 10, "-", 'fill="#999"'))
            continue
        all_iops, value = report.values(found[name], "iops"), report.median(found[name], "iops")
        low, high = x + min(all_iops) * scale, x + max(all_iops) * scale
        parts += [rect(x, at, value * scale, colour(name)), whisker(at, low, high),
                  text(high + 5, at + 10, report.kilo(value) + " k")]
    return parts


def row(y, load, cases, depths, names, labels, results):
    """`cases`: by depth."""
    room = (WIDTH - LABEL - MARGIN) / len(depths)
    parts = [f'<path d="M{MARGIN} {y}H{WIDTH - MARGIN}" stroke="#ddd"/>',
             text(MARGIN, y + 17, load, 'font-weight="bold"')]
    for i, depth in enumerate(depths):
        found = {n: results[cases[depth], n] for n in names
                 if depth in cases and results.get((cases[depth], n))}
        if found:
            x = LABEL + i * room
            parts.append(text(x, y + 17, f"depth {depth}", 'fill="#666"'))
            parts += panel(x, y + HEAD, room, names, found)
    for i, name in enumerate(names):
        parts.append(right(LABEL - 8, y + HEAD + i * STEP + 10, labels[name]))
    return y + HEAD + len(names) * STEP + 8, parts


def loads(wanted, results):
    """{load: ({depth: case}, names)} of what was measured, in the order of the first of each."""
    found = {}
    for case, names in wanted.items():
        measured = [n for n in names if results.get((case, n))]
        if measured:
            by_depth, known = found.setdefault(case.load(), ({}, []))
            by_depth[case.depth] = case
            known += [n for n in measured if n not in known]
    return found


def render(targets, wanted, labels, results):
    order = list(labels)
    y, parts = targets_part(MARGIN, targets, results)
    parts.append(text(MARGIN, y + 14, "4 KiB I/Os per second, median and range; each panel has its "
                      "own scale", 'font-size="15" font-weight="bold"'))
    y += HEAD
    found = loads(wanted, results)
    depths = sorted({d for by_depth, _ in found.values() for d in by_depth})
    for load, (by_depth, names) in found.items():
        y, more = row(y, load, by_depth, depths, sorted(names, key=order.index), labels, results)
        parts += more
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + MARGIN}" '
            f'font-family="sans-serif" font-size="12">\n'
            f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n")

# SPDX-License-Identifier: Apache-2.0
"""Bars: a panel for each case, a bar for each runner, its whisker from minimum to maximum."""

from xml.sax.saxutils import escape

from report import kilo, median, values

WIDTH, LABEL, BAR, GAP, HEAD, MARGIN = 800, 300, 16, 6, 30, 16
COLOURS = (("mvmm", "#1b7f4d"), ("qemu", "#8a8f98"), ("fio", "#c9a227"))


def colour(name):
    return next(c for prefix, c in COLOURS if name.startswith(prefix))


def text(x, y, words, extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {extra}>{escape(words)}</text>'


def bar(y, name, label, found, scale):
    value, low, high = median(found, "iops"), min(values(found, "iops")), max(values(found, "iops"))
    middle = y + BAR / 2
    x0, x1 = LABEL + low * scale, LABEL + high * scale
    return [
        text(LABEL - 8, y + 12, label, 'text-anchor="end"'),
        f'<rect x="{LABEL}" y="{y}" width="{value * scale:.1f}" height="{BAR}" '
        f'fill="{colour(name)}"/>',
        f'<path d="M{x0:.1f} {middle}H{x1:.1f}M{x0:.1f} {middle - 4}v8M{x1:.1f} {middle - 4}v8" '
        'stroke="#222" fill="none"/>',
        text(max(x1, LABEL + value * scale) + 6, y + 12, kilo(value) + " k"),
    ]


def panel(y, case, names, labels, results):
    shown = [n for n in names if results.get((case, n))]
    if not shown:
        return y, []
    top = max(max(values(results[case, n], "iops")) for n in shown)
    scale = (WIDTH - LABEL - 70) / top
    parts = [text(MARGIN, y + 18, str(case), 'font-weight="bold"')]
    y += HEAD
    for name in shown:
        parts += bar(y, name, labels[name], results[case, name], scale)
        y += BAR + GAP
    return y + 10, parts


def write(path, wanted, labels, results):
    y, parts = MARGIN + 24, [text(MARGIN, MARGIN + 6, "4 KiB I/Os per second, median and range",
                                  'font-size="15"')]
    for case, names in wanted.items():
        y, more = panel(y, case, names, labels, results)
        parts += more
    with open(path, "w") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + MARGIN}" '
                f'font-family="sans-serif" font-size="12">\n'
                f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts)
                + "\n</svg>\n")

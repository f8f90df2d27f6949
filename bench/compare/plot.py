#!/usr/bin/env python3
"""Draws what compare.py measured: `python3 bench/compare/plot.py RESULT.json [RESULT.json…] > docs/performance.svg`.
One bar a row: the median ratio of espush to Mosquitto, a thin line from the lowest to the highest, and a mark where
the ratio is wanted. Left of 1 espush spends less. Needs nothing but Python's standard library.
"""

import json
import math
import pathlib
import statistics
import sys

from compare import ROWS

WIDTH, LEFT, RIGHT, TOP, STEP = 860, 330, 70, 40, 30
LOWEST, HIGHEST = 0.03, 4.0


def ratios(seen, read):
    return [read(mine) / read(theirs) for mine, theirs in zip(seen["espush"], seen["other"]) if read(theirs)]


def across(ratio):
    """The place of a ratio on a logarithmic scale."""
    part = math.log(min(max(ratio, LOWEST), HIGHEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def main():
    seen = {}
    for path in sys.argv[1:]:
        seen |= json.loads(pathlib.Path(path).read_text())["rows"]
    lines = [
        (title, wanted, ratios(seen[name], read))
        for name, _, figures in ROWS if name in seen
        for title, (unit, read), wanted in figures
        # A tail of three seconds says more of the machine than of either.
        if not unit.startswith("p99")
    ]
    bottom = TOP + STEP * len(lines)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 44}" font-family="system-ui, sans-serif" font-size="13">',
        "<style>text{fill:#445}.less{fill:#2a8f6a}.more{fill:#c2703d}.grid{stroke:#8889;stroke-width:.6}"
        ".range{stroke:#445;stroke-width:1.2}.wanted{stroke:#356ac3;stroke-width:2.4}"
        "@media(prefers-color-scheme:dark){text{fill:#ccd}.range{stroke:#ccd}.wanted{stroke:#8ab4ff}}</style>",
        f'<text x="{LEFT}" y="18">espush ÷ Mosquitto, less is better; blue: wanted</text>',
    ]
    for tick in (0.03, 0.1, 0.25, 0.5, 1, 2, 4):
        x = across(tick)
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 10}" y2="{bottom}"/>')
        out.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    one = across(1)
    for at, (title, wanted, all_ratios) in enumerate(lines):
        middle = TOP + STEP * at + STEP / 2 - 6
        ratio = statistics.median(all_ratios)
        x, kind = across(ratio), "less" if ratio <= 1 else "more"
        out.append(f'<text x="{LEFT - 10}" y="{middle + 4:.1f}" text-anchor="end">{title.replace("&", "&amp;")}</text>')
        out.append(f'<rect class="{kind}" x="{min(x, one):.1f}" y="{middle - 7:.1f}" width="{abs(x - one):.1f}" height="14" rx="2"/>')
        low, high, mark = across(min(all_ratios)), across(max(all_ratios)), across(wanted)
        out.append(f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>')
        out.append(f'<line class="wanted" x1="{mark:.1f}" x2="{mark:.1f}" y1="{middle - 10:.1f}" y2="{middle + 10:.1f}"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 12}" y="{middle + 4:.1f}">{ratio:.2f}</text>')
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main()

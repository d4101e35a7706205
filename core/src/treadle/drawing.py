"""A plan drawn as a picture, in SVG."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.plan import Plan

CHARACTER, LINE, MARGIN, LABEL = 7.3, 34, 20, 150
FONT = "font-family='DejaVu Sans Mono, Menlo, Consolas, monospace' font-size='12'"
BOX, ARROW, INK, FAINT = "#e8f0fe", "#5f6368", "#202124", "#80868b"


def draw(plan: Plan) -> str:
    """The plan as an SVG document: a line for each event of each phase, and the reasons below.

    Args:
        plan: The plan.
    """
    parts: list[str] = []
    y, width = float(MARGIN), 0.0

    def write(x: float, text: str, *, colour: str = INK, bold: bool = False) -> None:
        nonlocal width
        weight = " font-weight='bold'" if bold else ""
        parts.append(f"<text x='{x:.1f}' y='{y + 16:.1f}' fill='{colour}' {FONT}{weight}>{escape(text)}</text>")
        width = max(width, x + len(text) * CHARACTER)

    for phase, rows in groupby(plan.rows, key=lambda row: row[0]):
        write(MARGIN, phase or "Outside of the phases", bold=True)
        y += LINE * 0.8
        for _, hook, ordered in rows:
            write(MARGIN + 12, hook, colour=FAINT)
            x = float(MARGIN + LABEL)
            for i, callback in enumerate(ordered):
                if i:
                    parts.append(
                        f"<path d='M{x:.1f} {y + 12:.1f} h16 m-5 -4 l5 4 l-5 4' fill='none' stroke='{ARROW}'/>"
                    )
                    x += 22
                box = len(callback.name) * CHARACTER + 16
                parts.append(
                    f"<rect x='{x:.1f}' y='{y:.1f}' width='{box:.1f}' height='24' rx='6' "
                    f"fill='{BOX}' stroke='{ARROW}'/>"
                )
                write(x + 8, callback.name)
                x += box + 6
            y += LINE
        y += LINE * 0.3
    if plan.edges:
        write(MARGIN, "Why in this order", bold=True)
        y += LINE * 0.8
    for before, after, reason, _ in plan.edges:
        write(MARGIN + 12, f"{before.name} before {after.name}: {reason.replace('`', '')}")
        y += LINE * 0.65
    width, height = width + MARGIN, y + MARGIN
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' "
        f"viewBox='0 0 {width:.0f} {height:.0f}'><rect width='100%' height='100%' fill='white'/>{''.join(parts)}</svg>"
    )

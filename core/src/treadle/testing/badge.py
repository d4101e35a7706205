"""The badge of a report: a small picture for a README, without any service that draws it."""

from __future__ import annotations

from html import escape

GREEN, RED = "#2e7d32", "#b71c1c"

#: The width of a character of the badge's font, about.
WIDTH = 6.6


def svg(label: str, text: str, *, good: bool) -> str:
    """A picture of two fields side by side.

    Args:
        label: The first field, on grey.
        text: The second, on green or red.
    """
    left, right = (round(len(part) * WIDTH + 12) for part in (label, text))
    whole = left + right
    label, text = escape(label), escape(text)
    head = f'xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img"'
    return (
        f'<svg {head} aria-label="{label}: {text}">\n'
        f"  <title>{label}: {text}</title>\n"
        f'  <rect width="{whole}" height="20" rx="3" fill="#555"/>\n'
        f'  <rect x="{left}" width="{right}" height="20" rx="3" fill="{GREEN if good else RED}"/>\n'
        f'  <rect x="{left}" width="4" height="20" fill="{GREEN if good else RED}"/>\n'
        f'  <g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">\n'
        f'    <text x="{left / 2}" y="14">{label}</text>\n'
        f'    <text x="{left + right / 2}" y="14">{text}</text>\n'
        f"  </g>\n"
        f"</svg>\n"
    )

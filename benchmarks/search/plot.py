"""A small plot of lines as an SVG, readable on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 320, 64, 32, 28, 48

# What the label of a point is wide.
_LABEL = 28

# Dark enough on white, light enough on black.
_COLOURS = ("#2f7fd6", "#d9622b")

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #57606a }
.grid { stroke: #8c959f; stroke-opacity: 0.35 }
.line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #b6bec8 } }
"""


@dataclass(frozen=True, slots=True)
class Line:
    """Points (x, y) in the order in which they are joined, with a label each."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[object]


def draw(file: Path, lines: Sequence[Line], *, across: str, up: str) -> None:
    """Write the lines as an SVG; x begins at 0, y ends at 1."""
    right = max(x for line in lines for x, _ in line.points) * 1.08
    low = min(y for line in lines for _, y in line.points)
    low = int(low * 20) / 20  # down to the next 0.05

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            round(_LEFT + x / right * (_WIDTH - _LEFT - _RIGHT), 1),
            round(_TOP + (1 - y) / (1 - low) * (_HEIGHT - _TOP - _BOTTOM), 1),
        )

    parts = [f"<style>{_STYLE}</style>"]
    for n in range(round((1 - low) * 20) + 1):
        y = 1 - n / 20
        left, at = place(0, y)
        parts += [
            f'<path class="grid" d="M{left} {at}H{_WIDTH - _RIGHT}"/>',
            f'<text x="{left - 8}" y="{at + 4}" text-anchor="end">{y:.2f}</text>',
        ]
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200) if right / step <= 10)
    for n in range(int(right / step) + 1):
        at, bottom = place(n * step, low)
        parts.append(f'<text x="{at}" y="{bottom + 18}" text-anchor="middle">{n * step}</text>')
    parts += [
        f'<text x="{(_WIDTH + _LEFT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>',
        f'<text x="16" y="{_HEIGHT / 2 - 16}" text-anchor="middle" '
        f'transform="rotate(-90 16 {_HEIGHT / 2 - 16})">{escape(up)}</text>',
    ]
    for line, colour in zip(lines, _COLOURS, strict=True):
        places = [place(*point) for point in line.points]
        joined = "L".join(f"{x} {y}" for x, y in places)
        parts.append(f'<path class="line" stroke="{colour}" d="M{joined}"/>')
        labelled: float = -_LABEL
        for (x, y), label in zip(places, line.labels, strict=True):
            parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>')
            if x - labelled >= _LABEL:  # else they would lie on each other
                labelled = x
                parts.append(
                    f'<text x="{x}" y="{y + 20}" text-anchor="middle">{escape(str(label))}</text>'
                )
        x, y = places[-1]
        parts.append(
            f'<text x="{x}" y="{y - 10}" text-anchor="middle" style="fill: {colour}">'
            f"{escape(line.name)}</text>"
        )
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(up)} against {escape(across)}">\n' + "\n".join(parts) + "\n</svg>\n"
    )

"""Rotary positions: the angle by which each pair of a head's values is turned at each position.

Source of the formulas: the GTE team's `modeling.py`. With NTK scaling by `factor` the reference
builds its table for more positions than the model was trained on, and so scales at every length:

    without scaling   inverse_frequency(i) = theta^(-2i/d)
    NTK               (theta · factor)^(-2i/d) / factor^(2/d)
    NTK with mixed_b  theta^(-2i/d) / exp(a · (i+1)^b),  a = ln(factor) / (d/2)^b
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gte_pg.models.architecture import RopeScaling

__all__ = ["inverse_frequencies", "rotary_tables"]


def inverse_frequencies(
    width: int, theta: float, scaling: RopeScaling | None
) -> NDArray[np.float64]:
    """Return one frequency for each of the `width / 2` pairs of a head `width` wide."""
    exponents = np.arange(0, width, 2, dtype=np.float64) / -width
    frequencies: NDArray[np.float64] = np.power(theta, exponents)
    if scaling is not None and scaling.mixed_b is None:
        frequencies = np.power(theta * scaling.factor, exponents)
        frequencies /= scaling.factor ** (2 / width)
    elif scaling is not None and scaling.mixed_b is not None:
        slope = np.log(scaling.factor) / (width / 2) ** scaling.mixed_b
        pairs = np.arange(1, width // 2 + 1, dtype=np.float64)
        frequencies /= np.exp(slope * pairs**scaling.mixed_b)
    return frequencies


def rotary_tables(
    positions: int, width: int, theta: float, scaling: RopeScaling | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return cosine and sine of every angle, each float32[positions, width / 2]."""
    frequencies = inverse_frequencies(width, theta, scaling).astype(np.float32)
    # The reference multiplies in float32; at position 8,000 its rounding is part of the model.
    angles = np.outer(np.arange(positions, dtype=np.float32), frequencies)
    return np.cos(angles), np.sin(angles)

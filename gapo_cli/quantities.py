"""Large numbers, bytes and seconds in words."""

from __future__ import annotations

GIBIBYTE = 1 << 30
MEBIBYTE = 1 << 20
KIBIBYTE = 1 << 10
LARGE = 1e6
UNITS = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def quantity(value: float) -> str:
    """Three significant digits with a unit: 7.62 G."""
    for unit, size in UNITS:
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def decimals(value: float, digits: int, sign: str = "") -> str:
    """A number with so many decimals, from a million on with four significant places: a wrong reward of 1e300 must not fill the
    screen. `sign`: "+" shows that of positive numbers too."""
    return f"{value:{sign}.{digits}f}" if abs(value) < LARGE else f"{value:{sign}.4g}"


def size(count: int) -> str:
    return f"{count / GIBIBYTE:.2f} GiB" if count >= GIBIBYTE else f"{count / MEBIBYTE:.0f} MiB"


def duration(seconds: float) -> str:
    """Two units at the most: 0.4 s, 95 s, 12 min 5 s, 3 h 20 min, 2 d 4 h."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, days = minutes // 60, minutes // (24 * 60)
    if not hours:
        return f"{minutes} min {rest} s"
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60} min"

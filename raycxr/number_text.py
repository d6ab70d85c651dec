"""Numbers as people read them."""

from __future__ import annotations


def percent(share: float) -> str:
    """Share (0 to 1) in per cent, with more digits where it is small."""
    value = 100 * share
    return f"{value:.1f} %" if value >= 1 or value == 0 else f"{value:.2g} %"


def percent_of(part: int, whole: int) -> str:
    """Part of a whole in per cent; nothing of nothing is shown as a dash."""
    return percent(part / whole) if whole else "-"


def count(number: int, noun: str) -> str:
    """Number and noun, such as "1 film" and "12,047 films"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def byte_size(number: int) -> str:
    """Size in decimal units, as disks and buckets are sold."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"


def duration(seconds: float) -> str:
    """Time in two units at most: "3.5 s", "48 s", "4 min 20 s", "2 h 5 min"."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(seconds / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")

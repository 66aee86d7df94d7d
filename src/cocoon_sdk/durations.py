"""Spans of time in words."""

from __future__ import annotations

_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
_LEAST_DAYS = 2  # below that, hours say it better: a close delay is 24 hours, not one day


def format_duration(seconds: int) -> str:
    """At most two units, rounded down: `24 hours`, `1 hour 30 minutes`, `364 days 23 hours`.

    Args:
        seconds: zero or more.
    """
    parts: list[str] = []
    for name, size in _UNITS:
        if name == "day" and seconds < _LEAST_DAYS * size:
            continue
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}" if count == 1 else f"{count} {name}s")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 seconds"

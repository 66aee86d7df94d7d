"""How long work reports itself."""

from __future__ import annotations

from collections.abc import Callable

# (stage, done, total): "download" and "unpack" count bytes, "convert" counts layers.
Progress = Callable[[str, int, int], None]


def quiet(_stage: str, _done: int, _total: int) -> None:
    """A `Progress` that shows nothing."""

"""What all reply types share."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A frozen reply. `extra` keeps fields that this version does not know."""

    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists; bytes become hex, absent optional values are left out."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def to_json(self, *, indent: int | None = None) -> str:
        """The same as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, Reply):
        fields = {
            field.name: _plain(item)
            for field in dataclasses.fields(value)
            if field.name != "extra" and (item := getattr(value, field.name)) is not None
        }
        return {**_plain(value.extra), **fields}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value

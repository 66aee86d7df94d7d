"""A model as the registry lists it."""

from __future__ import annotations

from dataclasses import dataclass

from cocoon_sdk.types.base import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(Reply):
    """A model and the ids (hex) of the providers that list it."""

    id: str
    providers: tuple[str, ...]
    object: str = "model"

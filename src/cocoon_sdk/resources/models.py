"""`client.models`: what the registry's providers offer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoon_sdk.types.models import Model

if TYPE_CHECKING:
    from cocoon_sdk.client import AsyncCocoon


class AsyncModels:
    """The models of the registry."""

    def __init__(self, client: AsyncCocoon) -> None:
        self._client = client

    async def list(self) -> tuple[Model, ...]:
        """Every model that some provider lists, by id.

        Of a registry in shards the providers are those that were looked at so far.

        Raises:
            RegistryError: the registry cannot be fetched or trusted.
        """
        core = self._client.request_settings().core
        core.enter()
        snapshot = await core.registry.snapshot()
        providers: dict[str, list[str]] = {name: [] for name in snapshot.models}
        for listed in snapshot.providers:
            for model in listed.models:
                providers[model].append(listed.id)
        return tuple(
            Model(id=name, providers=tuple(ids)) for name, ids in sorted(providers.items())
        )

"""`client.models.list()`: one line for each model, with everybody who lists it."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
from registry_world import HASH, NOW, World, descriptor_of, make_keys

from cocoon_sdk.errors import RegistryUnavailableError
from cocoon_sdk.registry.descriptor import sign_descriptor
from cocoon_sdk.registry.model import ModelOffer, ModelPrice
from cocoon_sdk.registry.snapshot import Snapshot, make_snapshot
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.verify import TrustedSet
from cocoon_sdk.resources.models import AsyncModels
from cocoon_sdk.types.models import Model

pytestmark = pytest.mark.anyio
ALICE, BOB = make_keys("provider", 2)


def snapshot() -> Snapshot:
    price = ModelPrice(prompt=1, cached=1, completion=1)

    def entry(key, *names: str):
        offers = [
            ModelOffer(id=name, hash=HASH, ctx=9, price=price, tokenizer=HASH, tokens=HASH)
            for name in names
        ]
        return sign_descriptor(key, descriptor_of(key, models=offers))

    world = World()
    trusted = TrustedSet(parse_trust(world.trust))
    trusted.update_root(world.roots[1])
    entries = msgspec.to_builtins([entry(ALICE, "z", "a"), entry(BOB, "a")])
    return make_snapshot(trusted.update_registry(world.make_registry(1, entries=entries), NOW))


def models_over(fetch) -> AsyncModels:
    core = SimpleNamespace(enter=lambda: None, registry=SimpleNamespace(snapshot=fetch))
    return AsyncModels(SimpleNamespace(request_settings=lambda: SimpleNamespace(core=core)))


async def test_models_by_id_with_their_providers() -> None:
    async def fetch() -> Snapshot:
        return snapshot()

    alice, bob = ALICE.public_key.hex(), BOB.public_key.hex()
    assert await models_over(fetch).list() == (
        Model(id="a", providers=(alice, bob)),
        Model(id="z", providers=(alice,)),
    )
    first = (await models_over(fetch).list())[0]
    assert first.to_dict() == {"id": "a", "providers": [alice, bob], "object": "model"}


async def test_without_a_registry_there_is_no_empty_list() -> None:
    async def fetch() -> Snapshot:
        raise RegistryUnavailableError("down")

    with pytest.raises(RegistryUnavailableError):
        await models_over(fetch).list()

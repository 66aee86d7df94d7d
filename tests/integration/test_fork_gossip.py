"""A registry forked by its own signers: a client of one side learns of the other through the provider.

The provider is the real one, on a real socket; both registries list it, under one version.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest
from provider_world import build_world, make_config, running

from cocoon_provider.operations.register import describe
from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.errors import RegistryEquivocationError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.operator import operations
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.registry.descriptor import encode_entry, sign_descriptor
from cocoon_sdk.registry.evidence import check_evidence
from cocoon_sdk.registry.model import Descriptor
from cocoon_sdk.registry.trust import parse_trust

pytestmark = pytest.mark.anyio

QUESTION = {
    "model": "free",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 50,
}


def entry(key: Ed25519Key, descriptor: Descriptor) -> bytes:
    return encode_entry(sign_descriptor(key, descriptor))


async def test_a_client_of_one_side_learns_of_the_other(tmp_path: Path) -> None:
    sides = [tmp_path / "a", tmp_path / "b"]
    config = make_config(registries=[str(side / "registry" / "registry.json") for side in sides])
    world = build_world(tmp_path, config=config)
    now = int(time.time())
    root = operations.init(sides[0] / "operator", network="devnet/fork", now=now)
    shutil.copytree(sides[0] / "operator", sides[1] / "operator")

    async with running(world):
        descriptor = describe(
            world.config,
            identity=world.identity,
            payout=world.books.wallet.address,
            endpoint=world.url,
            models=world.backend.models.values(),
            now=now,
        )
        stranger = Ed25519Key.generate()
        for side in sides:
            operator = OperatorFolder(side / "operator")
            operations.add(operator, entry(world.identity, descriptor), now=now)
        hidden = Descriptor(
            **{name: getattr(descriptor, name) for name in descriptor.__struct_fields__}
            | {"id": stranger.public_key.hex()}
        )
        # The signers let only one side see the second provider.
        operations.add(OperatorFolder(sides[1] / "operator"), entry(stranger, hidden), now=now)
        for side in sides:
            operator = OperatorFolder(side / "operator")
            operations.sign(operator, now=now)
            operations.publish(operator, side / "registry", now=now)
        await _noticed(world.provider)

        client = AsyncCocoon(
            registry=sides[0] / "registry",
            trust=list(root.root.keys),
            assurance="operator",
            state=f"sqlite:///{tmp_path / 'client.sqlite'}",
        )
        async with client:
            completion = await client.chat.completions.create(**QUESTION)
            assert completion.choices[0].message.content == "hello"
            with pytest.raises(RegistryEquivocationError) as caught:
                async with asyncio.timeout(15):
                    while True:
                        await client.chat.completions.create(**QUESTION)
                        await asyncio.sleep(0.02)
        assert caught.value.evidence is not None
        raw = Path(caught.value.evidence).read_bytes()
        found = check_evidence(raw, parse_trust(list(root.root.keys)))
        files = {(side / "registry" / "registry.json").read_bytes() for side in sides}
        assert {one.raw for one in found} == files


async def _noticed(provider: object) -> None:
    """The provider's look at both files, which it takes every ten minutes."""
    gossip = provider._gossip  # type: ignore[attr-defined]  # there is no other way to hurry it
    for source in gossip._sources:
        await gossip._look(source)

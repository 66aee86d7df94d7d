"""The real provider and the real client on loopback; only the quotes are fakes, for there is no TDX machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from attestation_world import FakeMachine, digest, fake_raw, policy, verifier

from cocoon_provider import attestation
from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.operations.register import describe
from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.errors import AttestationError, WireCode
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.protocol import messages
from tests.provider_world import RawClient, World, build_world, make_config, running
from tests.stub_provider import make_customer

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

IDENTITY = b"\x11" * 32  # the seed of `build_world`'s provider


@dataclass
class Listed:
    """What `make_customer` needs of a provider."""

    identity: Ed25519Key
    epoch: int = 1


@contextlib.asynccontextmanager
async def provider(
    tmp_path: Path, *, att: str | None = None, **settings: Any
) -> AsyncIterator[tuple[World, Any]]:
    """A provider with one free model, and a customer whose registry lists it."""
    config = make_config(
        models={"free": {"prompt": 0, "completion": 0}},
        chain={"network": "devnet/stub"},
        **settings,
    )
    async with running(build_world(tmp_path, config=config)) as world:
        descriptor = describe(
            config,
            identity=world.identity,
            payout=world.books.wallet.address,
            endpoint=world.url,
            models=world.backend.models.values(),
            now=int(time.time()),
            att=att or world.provider.attested_by,
        )
        folder = tmp_path / "customer"
        folder.mkdir()
        stub: Any = Listed(world.identity)
        yield world, make_customer(folder, (stub, descriptor))


def bundle_file(tmp_path: Path, **changes: Any) -> Path:
    [model] = EchoBackend(("free",)).models.values()
    path = tmp_path / "attestation.bin"
    path.write_bytes(fake_raw(Ed25519Key(IDENTITY).public_key, model_hash=model.hash, **changes))
    return path


async def ask(client: AsyncCocoon) -> Any:
    return await client.chat.completions.create(
        model="free", messages=[{"role": "user", "content": "hello"}], max_tokens=20
    )


def attested(**changes: Any) -> dict[str, Any]:
    return {
        "assurance": "attested",
        "attestation": policy(**changes),
        "attestation_verifier": verifier(),
    }


async def test_bundle_and_fresh_quote_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = FakeMachine()
    monkeypatch.setattr(attestation, "TsmQuotes", lambda: machine)
    path = bundle_file(tmp_path)
    settings = {"bundle": str(path), "fresh": "tsm"}
    async with provider(tmp_path, attestation=settings) as (world, customer):
        async with httpx.AsyncClient() as http:
            page = await http.get(
                f"http://127.0.0.1:{world.port}/attestation/{digest(path.read_bytes())}"
            )
        assert page.content == path.read_bytes()
        assert page.headers["Content-Type"] == "application/octet-stream"
        async with customer.client(**attested()) as client:
            reply = await ask(client)
            assert (reply.text, reply.assurance, reply.attestation.fresh) == (
                "hello", "attested", False,
            )  # fmt: skip
            assert reply.attestation.digest == digest(path.read_bytes())
        assert machine.asked == []
        async with customer.client(**attested(fresh=True)) as client:
            replies = [await ask(client) for _ in range(2)]
            assert all(reply.attestation.fresh for reply in replies)
        assert len(machine.asked) == 1
        async with customer.client() as client:
            assert (await ask(client)).assurance == "operator"


async def test_the_bundle_before_is_served_while_a_registry_names_it(tmp_path: Path) -> None:
    older = bundle_file(tmp_path).read_bytes()
    path = bundle_file(tmp_path, expires=int(time.time()) + 500)
    (tmp_path / "attestation.previous.bin").write_bytes(older)
    settings = {"bundle": str(path)}
    named = digest(older)
    async with provider(tmp_path, att=named, attestation=settings) as (world, customer):
        assert world.provider.attested_by == digest(path.read_bytes()) != named
        async with customer.client(**attested()) as client:
            assert (await ask(client)).attestation.digest == named


async def test_a_provider_that_makes_no_fresh_quotes_says_so(tmp_path: Path) -> None:
    settings = {"bundle": str(bundle_file(tmp_path))}
    async with (
        provider(tmp_path, attestation=settings) as (_, customer),
        customer.client(**attested(fresh=True)) as client,
    ):
        with pytest.raises(AttestationError, match="makes no quotes for single sessions"):
            await ask(client)


async def test_a_provider_without_attestation(tmp_path: Path) -> None:
    async with provider(tmp_path) as (world, _):
        assert world.provider.attested_by is None
        async with httpx.AsyncClient() as http:
            page = await http.get(f"http://127.0.0.1:{world.port}/attestation/" + "ab" * 32)
        assert page.status_code == 404
        async with RawClient.dial(world) as client:
            for _ in range(3):
                await client.send(0, messages.AttestChallenge())
                assert (await _error(client)).code == WireCode.NOT_FOUND
            # The session goes on.
            found = await client.ask(messages.ReceiptGet(b"r" * 16))
            assert isinstance(found, messages.Error)


async def _error(client: RawClient) -> messages.Error:
    while True:
        event = await client.next(0)
        if isinstance(event.message, messages.Error):
            assert not event.end
            return event.message

"""Hints at a fork from a provider that may lie (threats.md, "Registry signers"): only a real fork has an effect.

Real sockets on loopback; the request that runs meanwhile must never notice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Response

from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.errors import RegistryEquivocationError
from cocoon_sdk.keys import Ed25519Key, load_key
from cocoon_sdk.protocol.messages import Error
from cocoon_sdk.registry.dsse import sign_envelope
from cocoon_sdk.registry.evidence import check_evidence
from cocoon_sdk.registry.gossip import PIECE_BYTES, ForkHint, read_claim
from cocoon_sdk.registry.model import REGISTRY_TYPE
from cocoon_sdk.registry.trust import parse_trust
from tests.stub_provider import WORDS, Customer, StubProvider, ask, make_customer

pytestmark = pytest.mark.anyio


class Gossip(StubProvider):
    """A provider that hints at `files`, and serves what it likes under their names."""

    def __init__(self) -> None:
        super().__init__()
        self.served: bytes = b""
        self.stalls = False

    @property
    def fetched(self) -> list[str]:
        return [path for path in self.pages if path.startswith("/registry/")]

    def shows(self, raw: bytes, **changes: Any) -> None:
        """Hint at this file, but for the changes, and serve it."""
        self.served = raw
        self.hints = [ForkHint(*read_claim(raw), len(raw))._replace(**changes).frame()]

    def page(self, socket: ServerConnection, request: Any) -> Response | Awaitable[Response] | None:  # type: ignore[override]  # may take its time
        if not request.path.startswith("/registry/"):
            return super().page(socket, request)
        self.pages.append(request.path)
        number = int(request.path.rpartition("/")[2])
        response = socket.respond(HTTPStatus.OK, "")
        response.body = self.served[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(response.body))
        return self._later(response) if self.stalls else response

    async def _later(self, response: Response) -> Response:
        await asyncio.sleep(3)
        return response


def signers(customer: Customer) -> list[Ed25519Key]:
    """The registry's own keys."""
    return [load_key(path) for path in sorted(customer.folder.glob("operator/keys/registry*.key"))]


def other(customer: Customer, keys: list[Ed25519Key] | None = None, **changes: Any) -> bytes:
    """A registry like the one that the customer holds, but for the changes."""
    envelope = msgspec.json.decode((customer.folder / "registry" / "registry.json").read_bytes())
    payload = msgspec.json.decode(msgspec.convert(envelope["payload"], bytes)) | changes
    signing = signers(customer) if keys is None else keys
    return sign_envelope(msgspec.json.encode(payload), REGISTRY_TYPE, signing)


class Stage:
    def __init__(self, stub: Gossip, customer: Customer, client: AsyncCocoon) -> None:
        self.stub, self.customer, self.client = stub, customer, client

    async def ask(self) -> None:
        completion = await self.client.chat.completions.create(**ask())
        assert completion.choices[0].message.content == WORDS

    async def settle(self) -> None:
        """Until nothing is being followed."""
        async with asyncio.timeout(10):
            while any(task.get_name() == "cocoon-gossip" for task in asyncio.all_tasks()):
                await asyncio.sleep(0.005)


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    stub = Gossip()
    async with stub.listening():
        customer = make_customer(folder, (stub, stub.descriptor()))
        async with customer.client() as client:
            yield Stage(stub, customer, client)


async def test_a_fork_ends_the_use_of_the_registry_after_the_running_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with staged(tmp_path) as stage:
        fork = other(stage.customer, entries=[])
        stage.stub.shows(fork)
        await stage.ask()
        await stage.settle()
        assert len(stage.stub.fetched) == 1
        with pytest.raises(RegistryEquivocationError) as caught:
            await stage.client.chat.completions.create(**ask())
        assert caught.value.evidence is not None
        raw = Path(caught.value.evidence).read_bytes()
        one, two = check_evidence(raw, parse_trust(stage.customer.trust))
        assert fork in {one.raw, two.raw}
        assert f"provider {stage.stub.id} showed that the registry is forked" in caplog.text


def _forgeries(customer: Customer) -> dict[str, bytes]:
    now = int(time.time())
    own = signers(customer)
    strangers = [Ed25519Key.generate() for _ in own]
    return {
        "unsigned": other(customer, [], entries=[]),
        "strangers": other(customer, strangers, entries=[]),
        "not our format": other(customer, entries=[], surprise=1),
        "rubbish entries": other(customer, strangers, entries=[{"d": "x", "s": "AA=="}] * 1_000),
        "expired long ago": other(customer, strangers, issued=now - 10, expires=now - 5),
    }


@pytest.mark.parametrize(
    "name",
    ["unsigned", "strangers", "not our format", "rubbish entries", "expired long ago"],
)
async def test_a_forgery_changes_nothing(tmp_path: Path, name: str) -> None:
    async with staged(tmp_path) as stage:
        stage.stub.shows(_forgeries(stage.customer)[name])
        await stage.ask()
        await stage.settle()
        assert len(stage.stub.fetched) == 1
        for _ in range(2):
            await stage.ask()
        await stage.settle()
        assert len(stage.stub.fetched) == 1
        assert not list(tmp_path.rglob("equivocation-*"))


async def test_true_files_of_other_versions_and_networks_prove_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        version = read_claim(other(stage.customer)).version
        used = read_claim(other(stage.customer))
        for changes in (
            {"version": version + 1, "prev": "ab" * 32},
            {"network": "devnet/other"},
        ):
            raw = other(stage.customer, entries=[], **changes)
            # Under its own name, and under the name of what this client uses.
            stage.stub.shows(raw)
            stage.stub.hints.append(
                ForkHint(used.registry_id, used.version, read_claim(raw).digest, len(raw)).frame()
            )
            stage.stub.hints.reverse()
            async with stage.customer.client() as client:
                await client.chat.completions.create(**ask())
                await stage.settle()
                await client.chat.completions.create(**ask())
        assert len(stage.stub.fetched) == 2


@pytest.mark.parametrize("size", [16 * 1024 * 1024 + 1, 2**40, 0, -1, "many"])
async def test_a_size_without_sense_is_not_fetched(tmp_path: Path, size: Any) -> None:
    async with staged(tmp_path) as stage:
        stage.stub.shows(other(stage.customer, entries=[]))
        hint = stage.stub.hints[0]
        stage.stub.hints = [Error(hint.code, hint.message, 0, hint.detail | {"size": size})]
        await stage.ask()
        await stage.settle()
        assert stage.stub.fetched == []


async def test_more_than_announced_is_cut_off(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        fork = other(stage.customer, entries=[])
        stage.stub.shows(fork)
        stage.stub.served = fork + b" " * PIECE_BYTES
        await stage.ask()
        await stage.settle()
        await stage.ask()


async def test_a_flood_of_hints_costs_one_fetch_and_harms_no_answer(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.stub.shows(other(stage.customer, [], entries=[]))
        detail = stage.stub.hints[0].detail
        for number in range(2_000):
            digest = number.to_bytes(32, "big")
            stage.stub.hints.append(Error("registry_fork", "", 0, detail | {"digest": digest}))
        await stage.ask()
        await stage.settle()
        await stage.ask()
        assert len(stage.stub.fetched) == 1


async def test_a_stalled_file_delays_neither_answers_nor_the_end(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.stub.stalls = True
        stage.stub.shows(other(stage.customer, entries=[]))
        started = time.monotonic()
        for _ in range(3):
            await stage.ask()
        assert len(stage.stub.fetched) == 1
        await stage.client.close()
        assert time.monotonic() - started < 2.5

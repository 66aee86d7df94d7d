"""A submission is knocked at as a client would: a stub that serves what each test wants."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Response

from cocoon_sdk.errors import ConnectError
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.operator import canary, operations, probe
from cocoon_sdk.operator.canary import CanarySettings, Puzzle, draw, judge
from cocoon_sdk.operator.folder import OperatorFolder
from cocoon_sdk.operator.review import review
from cocoon_sdk.operator.verdicts import ReviewReport, Verdict
from cocoon_sdk.registry.descriptor import encode_entry, sign_descriptor
from cocoon_sdk.registry.model import Descriptor
from cocoon_sdk.settings import cache_dir
from cocoon_sdk.transport.page import PageError
from tests.stub_provider import BUNDLE, Customer, StubProvider, honest, make_customer

pytestmark = pytest.mark.anyio

DAY = 86_400


class Provider(StubProvider):
    """A stub with the pages of a real provider; `pages_of` says what they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.served: dict[str, bytes | HTTPStatus] = {}

    def page(self, socket: ServerConnection, request: Any) -> Response | None:
        body = self.served.get(request.path)
        if body is None:
            return super().page(socket, request)
        if isinstance(body, HTTPStatus):
            return socket.respond(body, "")
        response = socket.respond(HTTPStatus.OK, "")
        response.body = body
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = str(len(body))
        return response


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider().listening() as stub:
        assert isinstance(stub, Provider)
        offer = stub.descriptor().models[0]
        price = {name: getattr(offer.price, name) for name in ("prompt", "cached", "completion")}
        data = [{"id": offer.id, "hash": offer.hash, "price": price}]
        stub.served = {"/healthz": b"{}", "/v1/models": json.dumps({"data": data}).encode()}
        yield stub


@pytest.fixture
def customer(tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Customer:
    made = make_customer(tmp_path, (provider, provider.descriptor()))
    monkeypatch.setenv("COCOON_VOUCHER_KEY", str(tmp_path / "voucher.key"))
    operations.remove(OperatorFolder(tmp_path / "operator"), provider.id)
    return made


def signed(key: Ed25519Key, descriptor: Descriptor) -> bytes:
    return encode_entry(sign_descriptor(key, descriptor))


async def reviewed(
    customer: Customer,
    provider: Provider,
    *,
    ask: bool = False,
    raw: bytes | None = None,
    **changes: Any,
) -> ReviewReport:
    if raw is None:
        raw = signed(provider.identity, replace(provider.descriptor(), **changes))
    settings = CanarySettings(state=customer.state_url, rng=random.Random(7)) if ask else None
    folder = OperatorFolder(customer.folder / "operator")
    return await review(folder, raw, now=int(time.time()), canary=settings)


def verdicts(report: ReviewReport) -> dict[str, str]:
    """Verdict by the first word of the check's name."""
    return {check.name.partition(" ")[0]: str(check.verdict) for check in report.checks}


def found(report: ReviewReport, name: str) -> str:
    return next(
        f"{c.verdict} {c.detail}; {c.fix}" for c in report.checks if c.name.startswith(name)
    )


async def test_a_good_provider_passes_everything(customer: Customer, provider: Provider) -> None:
    puzzle = draw(random.Random(7))
    provider.answer = honest(f"It is: {puzzle.expected}!")
    report = await reviewed(customer, provider, ask=True, expires=int(time.time()) + 7 * DAY)
    names = (
        "signature",
        "descriptor",
        "sequence",
        "session",
        "health",
        "offers",
        "token",
        "canary",
    )
    assert verdicts(report) == dict.fromkeys(names, "OK")
    assert report.verdict is Verdict.OK
    assert "coins" in found(report, "canary")
    told = json.loads(json.dumps(report.to_dict()))
    assert (told["id"], told["verdict"], told["models"]) == (provider.id, "OK", ["stub"])
    assert (await customer.channel()).spent > 0
    assert not (cache_dir() / "registry").exists()  # the made-up registry is not remembered


async def test_nothing_is_added_by_looking(customer: Customer, provider: Provider) -> None:
    await reviewed(customer, provider)
    assert OperatorFolder(customer.folder / "operator").read_entries() == {}


async def test_no_provider_in_the_file(customer: Customer, provider: Provider) -> None:
    for raw in (
        b"",
        b"{}",
        signed(provider.identity, provider.descriptor()).replace(b"stub", b"best"),
    ):
        report = await reviewed(customer, provider, raw=raw)
        assert (report.provider, report.verdict) == (None, Verdict.FAIL)
    assert provider.lines == []


@pytest.mark.parametrize("changes", [{"network": "-239/main"}, {"expires": int(time.time()) - 1}])
async def test_what_clients_would_refuse_is_not_knocked_at(
    customer: Customer, provider: Provider, changes: dict[str, Any]
) -> None:
    report = await reviewed(customer, provider, **({"issued": 1} | changes))
    assert verdicts(report) == {"signature": "OK", "descriptor": "FAIL"}
    assert provider.lines == provider.pages == []


async def test_a_descriptor_that_ends_soon_is_a_warning(
    customer: Customer, provider: Provider
) -> None:
    report = await reviewed(customer, provider, expires=int(time.time()) + 3600)
    assert "register again soon" in found(report, "descriptor")
    assert report.verdict is Verdict.WARN


async def test_the_sequence_must_rise(customer: Customer, provider: Provider) -> None:
    folder = OperatorFolder(customer.folder / "operator")
    now = int(time.time())
    raw = signed(provider.identity, replace(provider.descriptor(), seq=5))
    operations.add(folder, raw, now=now)
    assert "this very entry" in found(await reviewed(customer, provider, raw=raw), "sequence")
    assert "seq 6 follows 5" in found(await reviewed(customer, provider, seq=6), "sequence")
    assert found(await reviewed(customer, provider, seq=4), "sequence").startswith("FAIL")


@pytest.mark.parametrize(
    "url", ["ws://provider.example", "wss://10.0.0.1", "wss://nowhere.invalid", "https://x.example"]
)
async def test_addresses_that_clients_do_not_dial(
    customer: Customer, provider: Provider, url: str
) -> None:
    report = await reviewed(customer, provider, endpoints=[url])
    assert verdicts(report)["address"] == "FAIL"


async def test_private_addresses_are_knocked_at_when_the_operator_says_so(
    customer: Customer, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled = []

    async def refuse(peer: Any, *, limit: float) -> Any:
        dialled.append(peer.site.address)
        raise ConnectError("nobody is there")

    async def nothing(*_arguments: Any, **_options: Any) -> bytes:
        raise PageError("nobody is there", passing=True)

    monkeypatch.setattr(probe, "open_connection", refuse)
    monkeypatch.setattr(probe, "get_page", nothing)
    raw = signed(provider.identity, replace(provider.descriptor(), endpoints=["wss://10.0.0.1"]))
    folder = OperatorFolder(customer.folder / "operator")
    for allowed, verdict in ((False, "address"), (True, "session")):
        report = await review(folder, raw, now=int(time.time()), allow_private=allowed)
        assert verdicts(report)[verdict] == "FAIL"
    assert dialled == ["10.0.0.1"]


async def test_somebody_else_at_the_address(customer: Customer, provider: Provider) -> None:
    provider.session_key = Ed25519Key.generate()
    report = await reviewed(customer, provider)
    assert found(report, "session").startswith("FAIL")


async def test_nobody_at_the_address(customer: Customer, provider: Provider) -> None:
    report = await reviewed(customer, provider, endpoints=["ws://127.0.0.1:1"])
    assert verdicts(report) | {"descriptor": "", "sequence": ""} == {
        **dict.fromkeys(("session", "token"), "FAIL"),
        **dict.fromkeys(("health", "offers"), "WARN"),
        "signature": "OK",
        "descriptor": "",
        "sequence": "",
    }


async def test_each_suite_is_tried_for_itself(
    customer: Customer, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "supported_suites", lambda: (1,))
    report = await reviewed(customer, provider, suites=[1, 9])
    sessions = [check.verdict for check in report.checks if check.name.startswith("session")]
    assert sessions == [Verdict.OK, Verdict.WARN]
    monkeypatch.setattr(probe, "supported_suites", lambda: (1, 9))
    report = await reviewed(customer, provider, suites=[9])
    assert found(report, "session").startswith("FAIL")


async def test_a_slow_provider_is_a_warning(
    customer: Customer, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SLOW", 0.0)
    assert found(await reviewed(customer, provider), "session").startswith("WARN identity proved")


@pytest.mark.parametrize(
    ("path", "body", "check", "verdict"),
    [
        ("/healthz", HTTPStatus.SERVICE_UNAVAILABLE, "health", "WARN it answers HTTP 503"),
        ("/v1/models", HTTPStatus.NOT_FOUND, "offers", "WARN /v1/models: it answers HTTP 404"),
        ("/v1/models", b"[" * 100_000, "offers", "WARN /v1/models is not the list"),
        ("/v1/models", b'{"data": [1]}', "offers", "WARN /v1/models is not the list"),
        ("/v1/models", b'{"data": []}', "offers", "FAIL stub is signed and not served"),
        (
            "/v1/models",
            b'{"data": [{"id": "stub", "hash": "", "price": {}}]}',
            "offers",
            "FAIL stub is served with another hash or price",
        ),
        (f"/tokens/{BUNDLE.hash.hex()}", HTTPStatus.NOT_FOUND, "token", "FAIL it answers HTTP 404"),
        (f"/tokens/{BUNDLE.hash.hex()}", b"x", "token", "FAIL it has another hash"),
    ],
)
async def test_files_must_be_those_that_were_signed(
    customer: Customer, provider: Provider, path: str, body: Any, check: str, verdict: str
) -> None:
    provider.served[path] = body
    assert found(await reviewed(customer, provider), check).startswith(verdict)


async def test_the_attestation_bundle(customer: Customer, provider: Provider) -> None:
    digest = probe.bundle_digest(b"bundle").hex()
    for body, verdict in (
        (HTTPStatus.NOT_FOUND, "FAIL it answers"),
        (b"other", "FAIL it has another digest"),
        (b"bundle", "OK"),
    ):
        provider.served["/attestation"] = body
        report = await reviewed(customer, provider, att=digest)
        assert found(report, "attestation").startswith(verdict)


# The question


async def test_without_a_channel_nothing_is_asked(customer: Customer, provider: Provider) -> None:
    customer.folder.joinpath("empty").mkdir()
    settings = CanarySettings(state=f"sqlite:///{customer.folder}/empty/c.sqlite")
    folder = OperatorFolder(customer.folder / "operator")
    raw = signed(provider.identity, provider.descriptor())
    report = await review(folder, raw, now=int(time.time()), canary=settings)
    assert found(report, "canary").startswith("WARN it was not asked")
    assert "cocoon wallet open" in found(report, "canary")
    assert provider.talks == []


async def test_a_question_that_would_cost_too_much_is_not_asked(
    customer: Customer, provider: Provider
) -> None:
    settings = CanarySettings(state=customer.state_url, most=1)
    folder = OperatorFolder(customer.folder / "operator")
    raw = signed(provider.identity, provider.descriptor())
    report = await review(folder, raw, now=int(time.time()), canary=settings)
    assert "--max-cost" in found(report, "canary")
    assert provider.talks == []


async def test_a_provider_that_cheats_is_named_so(customer: Customer, provider: Provider) -> None:
    provider.answer = honest(receipt={"model_hash": b"x" * 32})
    report = await reviewed(customer, provider, ask=True)
    assert found(report, "canary").startswith("FAIL IT CHEATED")
    assert "do not list" in found(report, "canary")


async def test_a_provider_that_hangs_up(
    customer: Customer, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang_up(talk: Any) -> None:
        await talk.line.socket.close()

    provider.answer = hang_up
    monkeypatch.setattr(
        canary, "TIMEOUTS", canary.Timeouts(connect=1, first_token=1, idle=1, total=3)
    )
    assert found(await reviewed(customer, provider, ask=True), "canary").startswith("FAIL")


async def test_a_model_that_nobody_could_use(customer: Customer, provider: Provider) -> None:
    """The client itself would reject it, before any question."""
    report = await reviewed(customer, provider, ask=True, window=5000)
    assert "5000 tokens paid ahead" in found(report, "canary")


async def test_wrong_answers_are_shown_and_empty_ones_fail(
    customer: Customer, provider: Provider
) -> None:
    provider.answer = honest("no idea")
    assert "'no idea'" in found(await reviewed(customer, provider, ask=True), "canary")
    await asyncio.sleep(0)
    provider.answer = honest(" ")
    assert found(await reviewed(customer, provider, ask=True), "canary").startswith("FAIL")


def test_what_counts_as_an_answer() -> None:
    puzzle = Puzzle("Repeat these words exactly: amber cedar", "amber cedar")
    for text, verdict in (
        ("Amber,  CEDAR.", "OK"),
        ("amber", "WARN"),
        ("\n", "FAIL"),
        ("\x00\x01\ufffd amber cedar"[:8], "FAIL"),
    ):
        assert judge("canary", puzzle, text, "").verdict == verdict


def test_questions_are_of_every_kind_and_hold_their_answer_to_themselves() -> None:
    drawn = [draw(random.Random(seed)) for seed in range(400)]
    assert len({puzzle.question for puzzle in drawn}) > 250
    for puzzle in drawn:
        if "+" in puzzle.question:
            a, b = (
                int(part.strip(" ?."))
                for part in puzzle.question.split("is")[1].split("G")[0].split("+")
            )
            assert str(a + b) == puzzle.expected
    kinds = {puzzle.question.split()[0] for puzzle in drawn}
    assert {"Repeat", "Which", "Add", "What"} <= kinds

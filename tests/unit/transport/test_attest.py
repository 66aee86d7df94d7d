"""Attested requests over real sockets. Who judges a quote is the real verifier over `FakeQuotes`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from attestation_world import (
    FakeQuotes,
    Genuine,
    digest,
    fake_fresh,
    fake_raw,
    policy,
    verifier,
)
from msgspec.structs import replace

from cocoon_sdk.attestation.bundle import MAX_BUNDLE, encode_bundle
from cocoon_sdk.attestation.policy import AttestationPolicy
from cocoon_sdk.attestation.verifier import TdxVerifier
from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.errors import (
    AttestationError,
    ConfigError,
    ConnectError,
    DeadlineError,
    NoProviderError,
    ProviderInternalError,
    ProviderOverloadedError,
    StreamTruncatedError,
)
from cocoon_sdk.protocol import messages
from cocoon_sdk.registry.model import Descriptor
from cocoon_sdk.transport.core import Timeouts
from tests.stub_provider import Line, StubProvider, ask, make_customer

pytestmark = pytest.mark.anyio


def attested(stub: StubProvider, raw: bytes | None = None, **changes: Any) -> Descriptor:
    """The descriptor that names this bundle, which the stub serves. Default: a good one of its own."""
    stub.attestation = fake_raw(stub.identity.public_key, **changes) if raw is None else raw
    return replace(stub.descriptor(), att=digest(stub.attestation))


def fetches(stub: StubProvider) -> int:
    """How often its bundle was asked for."""
    return sum(path.startswith("/attestation") for path in stub.pages)


async def answer(client: AsyncCocoon) -> Any:
    return await client.chat.completions.create(**ask())


def demanding(**changes: Any) -> dict[str, Any]:
    return {
        "assurance": "attested",
        "attestation": policy(),
        "attestation_verifier": verifier(),
    } | changes


async def refusal(
    tmp_path: Path, stub: StubProvider, descriptor: Descriptor, **settings: Any
) -> AttestationError:
    """The error of a request to this provider, which then is quarantined and has seen no prompt."""
    customer = make_customer(tmp_path, (stub, descriptor))
    async with customer.client(**demanding(**settings)) as client:
        with pytest.raises(AttestationError) as caught:
            await answer(client)
        assert not stub.talks
        with pytest.raises(NoProviderError) as again:
            await answer(client)
        assert "quarantined" in again.value.rejections[stub.id]
        assert str(caught.value) in again.value.rejections[stub.id]
    assert (await customer.channel()).signed == 0
    return caught.value


async def test_an_answer_says_what_was_proved(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, attested(stub)))
        quotes = FakeQuotes()
        async with customer.client(**demanding(attestation_verifier=TdxVerifier(quotes))) as client:
            replies = await asyncio.gather(*(answer(client) for _ in range(3)))
        assert {reply.assurance for reply in replies} == {"attested"}
        result = replies[0].attestation
        assert result is not None
        assert result.ok
        assert not result.fresh
        assert (result.provider, result.digest) == (stub.id, digest(stub.attestation or b""))
        assert [step.name for step in result.steps] == [
            "quote", "tcb", "debug", "binding", "claims", "image", "model",
        ]  # fmt: skip
        assert replies[0].to_dict()["attestation"]["steps"][3]["name"] == "binding"
        assert quotes.calls == 1, "verified once, whoever waits"
        assert stub.pages.count(f"/attestation/{result.digest}") == fetches(stub) == 1
        assert not stub.questions or all(
            not isinstance(one, messages.AttestChallenge) for one in stub.questions
        )


async def test_with_operator_nothing_is_asked_and_nothing_is_claimed(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, attested(stub)))
        async with customer.client() as client:
            reply = await answer(client)
        assert (reply.assurance, reply.attestation) == ("operator", None)
        assert "attestation" not in reply.to_dict()
        assert fetches(stub) == 0


async def test_a_provider_without_attestation_is_not_asked(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, stub.descriptor()))
        async with customer.client(**demanding()) as client:
            with pytest.raises(NoProviderError, match="its owner can read prompts"):
                await answer(client)
        assert (stub.handshakes, stub.pages) == (0, [])


@pytest.mark.parametrize("what", ["missing", "oversize", "swapped", "cut", "rubbish"])
async def test_a_bundle_that_is_not_the_named_one(tmp_path: Path, what: str) -> None:
    async with StubProvider().listening() as stub:
        good = fake_raw(stub.identity.public_key)
        named, served = {
            "missing": (good, None),
            "oversize": (good + bytes(MAX_BUNDLE), good + bytes(MAX_BUNDLE)),
            "swapped": (good, fake_raw(stub.identity.public_key, expires=int(time.time()) + 9)),
            "cut": (good, good[:-1]),
            "rubbish": (b"rubbish", b"rubbish"),
        }[what]
        descriptor = replace(stub.descriptor(), att=digest(named))
        stub.attestation = served
        error = await refusal(tmp_path, stub, descriptor)
        (step,) = error.steps
        assert (step.name, step.ok) == ("bundle", False)
        assert {
            "missing": "HTTP 404",
            "oversize": "larger than",
            "swapped": "not the one that its descriptor names",
            "cut": "not the one",
            "rubbish": "does not begin",
        }[what] in str(error)
        assert stub.handshakes == 0


async def test_another_providers_bundle(tmp_path: Path) -> None:
    """Genuine in itself, honestly named, and made for another key."""
    async with StubProvider().listening() as stub:
        error = await refusal(tmp_path, stub, attested(stub, fake_raw(b"o" * 32)))
        assert [step.name for step in error.steps if not step.ok] == ["binding"]
        assert "does not bind" in str(error)


@pytest.mark.parametrize(
    ("settings", "step"),
    [
        ({"attestation_verifier": verifier(tcb_status="OutOfDate")}, "tcb"),
        ({"attestation_verifier": verifier(attributes=b"\x01" + bytes(7))}, "debug"),
        ({"attestation_verifier": verifier(mrtd=b"x" * 48)}, "image"),
        ({"attestation": policy(max_lifetime=60)}, "claims"),
    ],
)
async def test_every_step_can_stop_a_request(
    tmp_path: Path, settings: dict[str, Any], step: str
) -> None:
    async with StubProvider().listening() as stub:
        error = await refusal(tmp_path, stub, attested(stub), **settings)
        assert [one.name for one in error.steps if not one.ok] == [step]


async def test_claims_for_another_model(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        error = await refusal(tmp_path, stub, attested(stub, model_hash=b"x" * 32))
        assert [one.name for one in error.steps if not one.ok] == ["model"]


async def test_the_genuine_quote_of_somebody_else(tmp_path: Path, outside_data: Path) -> None:
    """The real verifier to the end: today it stops at collateral that ended in 2025."""
    pytest.importorskip("dcap_qvl")
    genuine = Genuine.read(outside_data)
    async with StubProvider().listening() as stub:
        error = await refusal(
            tmp_path,
            stub,
            attested(stub, encode_bundle(genuine.bundle())),
            attestation=AttestationPolicy(images=[genuine.image()]),
            attestation_verifier=None,
        )
        assert [(one.name, one.ok) for one in error.steps] == [
            ("quote", True),
            ("signature", True),
            ("collateral", False),
        ]


async def test_a_good_provider_takes_over_from_a_bad_one(tmp_path: Path) -> None:
    bad, good = sorted((StubProvider(), StubProvider()), key=lambda stub: stub.id)
    async with bad.listening(), good.listening():
        customer = make_customer(
            tmp_path, (bad, attested(bad, fake_raw(b"o" * 32))), (good, attested(good))
        )
        async with customer.client(**demanding()) as client:
            replies = [await answer(client) for _ in range(2)]
        assert [reply.provider for reply in replies] == [good.id] * 2
        assert all(reply.assurance == "attested" for reply in replies)
        assert fetches(bad) == 1
        assert bad.handshakes == 0


async def test_a_verdict_lapses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, attested(stub)))
        async with customer.client(**demanding()) as client:
            await answer(client)
            judge = client.request_settings().core.attestations
            assert judge is not None
            monkeypatch.setattr(judge, "_clock", lambda: time.time() + 7_000)
            with pytest.raises(AttestationError, match="expired") as caught:
                await answer(client)
        assert [one.name for one in caught.value.steps if not one.ok] == ["claims"]
        assert fetches(stub) == 2
        assert len(stub.talks) == 1


async def test_a_provider_that_is_down_is_not_distrusted(tmp_path: Path) -> None:
    stub = StubProvider()
    async with stub.listening():
        descriptor = attested(stub)
    customer = make_customer(tmp_path, (stub, descriptor))
    async with customer.client(**demanding()) as client:
        with pytest.raises(ConnectError, match="no attestation bundle"):
            await answer(client)
        async with stub.listening():
            assert (await answer(client)).assurance == "attested"


async def test_a_slow_bundle_is_given_up(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    stub = StubProvider()
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        stub.port = server.sockets[0].getsockname()[1]
        customer = make_customer(tmp_path, (stub, attested(stub)))
        async with customer.client(**demanding(timeouts=Timeouts(connect=0.2))) as client:
            with pytest.raises(DeadlineError, match="no attestation bundle"):
                await answer(client)


async def test_without_the_extra_the_provider_is_not_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dcap_qvl", None)
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, attested(stub)))
        async with customer.client(**demanding(attestation_verifier=None)) as client:
            for _ in range(2):
                with pytest.raises(ConfigError, match=r"cocoon-sdk\[tdx\]"):
                    await answer(client)


async def test_a_policy_file_is_read_when_it_is_needed(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        customer = make_customer(tmp_path, (stub, attested(stub)))
        path = tmp_path / "policy.json"
        async with customer.client(**demanding(attestation=path)) as client:
            with pytest.raises(ConfigError, match="cannot be read"):
                await answer(client)
            image = asdict(policy().images[0])
            path.write_text(json.dumps({"images": [image]}))
            assert (await answer(client)).assurance == "attested"


# --- a quote for each session

Respond = Callable[[StubProvider, Line], messages.Message | None]


def quoting(stub: StubProvider, respond: Respond) -> None:
    stub.attest = lambda line: respond(stub, line)  # type: ignore[method-assign]


def honest_quote(stub: StubProvider, line: Line) -> messages.Message:
    quote = fake_fresh(stub.identity.public_key, line.session.exporter)
    return messages.Attest(quote, b"{}")


async def test_fresh_quotes_are_made_once_a_session(tmp_path: Path) -> None:
    async with StubProvider().listening() as stub:
        quoting(stub, honest_quote)
        customer = make_customer(tmp_path, (stub, attested(stub)))
        async with customer.client(**demanding(attestation=policy(fresh=True))) as client:
            replies = await asyncio.gather(*(answer(client) for _ in range(3)))
        result = replies[0].attestation
        assert result is not None
        assert result.ok
        assert result.fresh
        names = [step.name for step in result.steps]
        assert names[6:9] == ["model", "fresh quote", "fresh tcb"]
        assert "fresh binding" in names
        asked = [one for one in stub.questions if isinstance(one, messages.AttestChallenge)]
        assert len(asked) == stub.handshakes == 1


async def test_a_sessions_quote_lapses_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with StubProvider().listening() as stub:
        quoting(stub, honest_quote)
        descriptor = attested(stub, expires=int(time.time()) + 5 * 3_600)
        customer = make_customer(tmp_path, (stub, descriptor))
        async with customer.client(**demanding(attestation=policy(fresh=True))) as client:
            await answer(client)
            judge = client.request_settings().core.attestations
            assert judge is not None
            # Past the collateral of both quotes, which the fakes give two hours.
            monkeypatch.setattr(judge, "_clock", lambda: time.time() + 3 * 3_600)
            assert (await answer(client)).attestation.fresh
        assert [type(one) for one in stub.questions].count(messages.AttestChallenge) == 2
        assert stub.handshakes == 1


async def test_a_quote_of_another_session_is_a_replay(tmp_path: Path) -> None:
    recorded: list[messages.Message] = []

    def replay(stub: StubProvider, line: Line) -> messages.Message:
        recorded.append(honest_quote(stub, line))
        return recorded[0]

    async with StubProvider().listening() as stub:
        quoting(stub, replay)
        customer = make_customer(tmp_path, (stub, attested(stub)))
        async with customer.client(**demanding(attestation=policy(fresh=True))) as client:
            assert (await answer(client)).attestation.fresh
        async with customer.client(**demanding(attestation=policy(fresh=True))) as client:
            with pytest.raises(AttestationError, match="this session") as caught:
                await answer(client)
        assert [one.name for one in caught.value.steps if not one.ok] == ["fresh binding"]
        assert len(stub.talks) == 1
        assert len(recorded) == 2


@pytest.mark.parametrize(
    ("respond", "says"),
    [
        (lambda *_: messages.Error("not_found", "no machine here"), "no machine here"),
        (lambda s, _: messages.Attest(b"", b"{}"), "its quote has 0 bytes"),
        (lambda s, _: messages.Attest(b"q" * 40_000, b"{}"), "its quote has 40000 bytes"),
        (lambda s, _: messages.Attest(b"q", b"c" * 500_000), "its collateral has 500000 bytes"),
        (lambda s, _: messages.Attest(b"another", b"{}"), "not a fake quote"),
    ],
    ids=["refused", "empty", "long quote", "long collateral", "not genuine"],
)
async def test_what_is_no_fresh_quote(tmp_path: Path, respond: Respond, says: str) -> None:
    async with StubProvider().listening() as stub:
        quoting(stub, respond)
        error = await refusal(tmp_path, stub, attested(stub), attestation=policy(fresh=True))
        assert says in str(error)
        assert error.steps[-1].name.startswith("fresh")


async def test_a_provider_that_says_nothing_is_given_up_and_may_answer_later(
    tmp_path: Path,
) -> None:
    async with StubProvider().listening() as stub:
        quoting(stub, lambda *_: None)
        customer = make_customer(tmp_path, (stub, attested(stub)))
        settings = demanding(attestation=policy(fresh=True), timeouts=Timeouts(connect=0.3))
        async with customer.client(**settings) as client:
            for _ in range(2):
                with pytest.raises(DeadlineError, match="no quote for this session"):
                    await answer(client)
            assert not stub.talks
            [line] = stub.lines
            await line.send(0, honest_quote(stub, line))
            assert (await answer(client)).attestation.fresh
        assert [type(one) for one in stub.questions].count(messages.AttestChallenge) == 1


async def test_a_provider_that_is_busy_is_asked_again(tmp_path: Path) -> None:
    answers = [lambda *_: messages.Error("overloaded", "a crowd"), honest_quote]
    async with StubProvider().listening() as stub:
        quoting(stub, lambda *at: answers.pop(0)(*at))
        customer = make_customer(tmp_path, (stub, attested(stub)))
        async with customer.client(**demanding(attestation=policy(fresh=True))) as client:
            with pytest.raises(ProviderOverloadedError, match="a crowd"):
                await answer(client)
            assert (await answer(client)).attestation.fresh
        assert stub.handshakes == 1


async def test_a_machine_that_fails_once_is_not_distrusted(tmp_path: Path) -> None:
    answers = [lambda *_: messages.Error("internal", "no quote now"), honest_quote]
    async with StubProvider().listening() as stub:
        quoting(stub, lambda *at: answers.pop(0)(*at))
        customer = make_customer(tmp_path, (stub, attested(stub)))
        async with customer.client(**demanding(attestation=policy(fresh=True))) as client:
            with pytest.raises(ProviderInternalError, match="no quote now"):
                await answer(client)
            assert not stub.talks
            assert (await answer(client)).attestation.fresh


async def test_who_waits_for_the_question_of_another_waits_no_longer_than_its_limit(
    tmp_path: Path,
) -> None:
    async with StubProvider().listening() as stub:
        quoting(stub, lambda *_: None)
        customer = make_customer(tmp_path, (stub, attested(stub)))
        settings = demanding(attestation=policy(fresh=True), timeouts=Timeouts(connect=1.0))
        async with customer.client(**settings) as client:
            await client.request_settings().core.ledger()
            begun = time.monotonic()
            results = await asyncio.gather(
                *(answer(client) for _ in range(8)), return_exceptions=True
            )
            assert {type(one) for one in results} == {DeadlineError}
            assert time.monotonic() - begun < 5.0  # in a row it would be 8 s


async def test_a_session_that_ends_while_it_is_asked(tmp_path: Path) -> None:
    def hang_up(_: StubProvider, line: Line) -> None:
        line.socket.transport.abort()

    async with StubProvider().listening() as stub:
        quoting(stub, hang_up)
        customer = make_customer(tmp_path, (stub, attested(stub)))
        async with customer.client(**demanding(attestation=policy(fresh=True))) as client:
            with pytest.raises(StreamTruncatedError):
                await asyncio.wait_for(answer(client), 5)
        assert not stub.talks

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from attestation_world import FakeMachine, digest, fake_bundle, fake_fresh, fake_quote, fake_raw

from cocoon_provider import attestation
from cocoon_provider.attestation import MAX_WAITING, Evidence, load_evidence, previous_path
from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.config import AttestationSettings
from cocoon_provider.quotes import TsmQuotes
from cocoon_sdk.attestation.bundle import MAX_BUNDLE, encode_bundle
from cocoon_sdk.errors import AttestationError, ConfigError, WireCode
from cocoon_sdk.protocol.messages import Attest, Error

pytestmark = pytest.mark.anyio

IDENTITY = b"k" * 32
[MODEL] = EchoBackend(("echo",)).models.values()
EXPORTER = b"e" * 32


def load(path: Path, *, fresh: str = "", identity: bytes = IDENTITY, models: Any = (MODEL,)) -> Any:
    settings = AttestationSettings(bundle=str(path), fresh=fresh)  # type: ignore[arg-type]
    return load_evidence(settings, models, identity)


def write(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "attestation.bin"
    path.write_bytes(fake_raw(IDENTITY, **({"model_hash": MODEL.hash} | changes)))
    return path


def test_nothing_configured_is_nothing_proved() -> None:
    assert load_evidence(AttestationSettings(), [MODEL], IDENTITY) is None


def test_the_file_is_served_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path)
    evidence = load(path)
    assert evidence.bundles == (path.read_bytes(),)
    assert evidence.digest.hex() == digest(path.read_bytes())
    assert evidence._source is None
    assert isinstance(load(path, fresh="tsm")._source, TsmQuotes)


def test_a_bundle_that_no_client_could_accept_stops_the_start(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(ConfigError, match="another identity key"):
        load(path, identity=b"o" * 32)
    with pytest.raises(ConfigError, match="serves that one model"):
        load(path, models=())
    with pytest.raises(ConfigError, match="serves that one model"):
        load(path, models=EchoBackend(("echo", "free")).models.values())
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "nowhere")
    now = int(time.time())
    for hours in ({"expires": now - 5}, {"not_before": now + 50}):
        with pytest.raises(ConfigError, match="which is not now"):
            load(write(tmp_path, **hours))
    for raw, says in (
        (b"rubbish", "does not begin"),
        (path.read_bytes() + b"\0", "bytes follow"),
        (bytes(MAX_BUNDLE + 1), "larger than"),
        (encode_bundle(replace(fake_bundle(IDENTITY), claims=b"x")), "not a TLV"),
        (fake_raw(IDENTITY), "serves that one model"),
    ):
        path.write_bytes(raw)
        with pytest.raises(ConfigError, match=says):
            load(path)


def test_the_bundle_before_it_is_kept_on_offer(tmp_path: Path) -> None:
    path = write(tmp_path)
    older = tmp_path / "attestation.previous.bin"
    assert previous_path(path) == older
    older.write_bytes(b"whatever it was")
    assert load(path).bundles == (path.read_bytes(), b"whatever it was")
    older.write_bytes(bytes(MAX_BUNDLE + 1))
    assert len(load(path).bundles) == 1
    older.unlink()
    older.mkdir()
    assert len(load(path).bundles) == 1


async def test_without_a_source_a_challenge_gets_an_error(tmp_path: Path) -> None:
    answer = await load(write(tmp_path)).answer(EXPORTER)
    assert isinstance(answer, Error)
    assert answer.code == WireCode.NOT_FOUND


async def test_one_quote_a_session() -> None:
    machine = FakeMachine()
    evidence = Evidence(fake_raw(IDENTITY), identity=IDENTITY, source=machine)
    answers = await asyncio.gather(*(evidence.answer(EXPORTER) for _ in range(5)))
    assert answers == [Attest(fake_fresh(IDENTITY, EXPORTER), b"{}")] * 5
    assert len(machine.asked) == 1
    other = await evidence.answer(b"f" * 32)
    assert other == Attest(fake_fresh(IDENTITY, b"f" * 32), b"{}")


async def test_only_the_last_quotes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attestation, "MAX_KEPT", 2)
    machine = FakeMachine()
    evidence = Evidence(fake_raw(IDENTITY), identity=IDENTITY, source=machine)
    for number in (0, 1, 2, 2, 0):
        await evidence.answer(bytes([number]) * 32)
    assert len(machine.asked) == 4


async def test_a_crowd_that_wants_quotes_is_told_to_wait() -> None:
    release = threading.Event()

    class Slow:
        def quote(self, report_data: bytes) -> bytes:
            assert release.wait(10)
            return fake_quote(report_data)

    evidence = Evidence(fake_raw(IDENTITY), identity=IDENTITY, source=Slow())
    asked = [asyncio.create_task(evidence.answer(bytes([n]) * 32)) for n in range(MAX_WAITING + 3)]
    await asyncio.sleep(0.05)
    refused = [task.result() for task in asked if task.done()]
    assert [answer.code for answer in refused if isinstance(answer, Error)] == ["overloaded"] * 3
    release.set()
    answers = await asyncio.gather(*asked)
    assert sum(isinstance(answer, Attest) for answer in answers) == MAX_WAITING
    assert isinstance(await evidence.answer(b"\xff" * 32), Attest)


async def test_clients_that_leave_do_not_set_the_machine_to_many_quotes_at_once() -> None:
    release, lock = threading.Event(), threading.Lock()
    working = most = 0

    class Slow:
        def quote(self, report_data: bytes) -> bytes:
            nonlocal working, most
            with lock:
                working += 1
                most = max(most, working)
            assert release.wait(10)
            with lock:
                working -= 1
            return fake_quote(report_data)

    evidence = Evidence(fake_raw(IDENTITY), identity=IDENTITY, source=Slow())
    for number in range(5):
        task = asyncio.create_task(evidence.answer(bytes([number]) * 32))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    last = asyncio.create_task(evidence.answer(b"\xff" * 32))
    await asyncio.sleep(0.05)
    release.set()
    assert isinstance(await last, Attest)
    assert most == 1
    # The quote whose client had left is there for it, should it ask again.
    assert evidence._made.keys() == {bytes(32), b"\xff" * 32}


async def test_why_the_kernel_gave_none_stays_in_our_log(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def quote(self, report_data: bytes) -> bytes:
            raise AttestationError("the secret path /sys/kernel is missing")

    evidence = Evidence(fake_raw(IDENTITY), identity=IDENTITY, source=Broken())
    answer = await evidence.answer(EXPORTER)
    assert isinstance(answer, Error)
    assert answer.code == WireCode.INTERNAL
    assert "/sys" not in answer.message
    assert "/sys/kernel" in caplog.text

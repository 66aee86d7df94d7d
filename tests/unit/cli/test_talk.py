"""What `cocoon chat` says about an answer, however it ended, and how Ctrl-C reaches it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, Self

import pytest

from cocoon_sdk.cli import chat as command
from cocoon_sdk.cli.background import BackgroundLoop
from cocoon_sdk.cli.talk import Talk
from cocoon_sdk.errors import AttestationError, StreamTruncatedError
from cocoon_sdk.types.attestation import AttestationResult, AttestationStep

pytestmark = pytest.mark.anyio

STEP = AttestationStep(name="binding", ok=False, detail="another key")
USAGE = SimpleNamespace(prompt_tokens=9, completion_tokens=60, cost="0.0007")


class FakeStream:
    """An answer of some texts and an end."""

    charged_nano = 1_200_000

    attestation: AttestationResult | None = None

    def __init__(self, texts: list[str], end: BaseException | None, reason: str) -> None:
        self.texts, self.end, self.reason = texts, end, reason

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @property
    async def text_stream(self):
        for text in self.texts:
            yield text
        if self.end is not None:
            raise self.end

    def completion(self) -> SimpleNamespace:
        return SimpleNamespace(
            usage=USAGE,
            choices=[SimpleNamespace(finish_reason=self.reason)],
            attestation=self.attestation,
            to_dict=lambda: {"text": "".join(self.texts)},
        )

    async def get_final_completion(self) -> SimpleNamespace:
        if self.end is not None:
            raise self.end
        return self.completion()


class FakeClient:
    """Gives the streams it was made with, and remembers what was asked."""

    def __init__(self, *streams: FakeStream) -> None:
        self.streams = list(streams)
        self.asked: list[list[dict[str, Any]]] = []
        self.chat = SimpleNamespace(completions=self)

    def stream(self, *, messages: list[dict[str, Any]], **_: object) -> FakeStream:
        self.asked.append(messages)
        return self.streams.pop(0)


def talk(texts: list[str], end: BaseException | None = None, reason: str = "stop") -> Talk:
    return Talk(FakeClient(FakeStream(texts, end, reason)), "m", 60, None)


@pytest.mark.parametrize("reason", ["stop", "length"])
async def test_a_whole_answer_and_its_cost(reason: str, capsys: pytest.CaptureFixture[str]):
    one = talk(["Hel", "lo"], reason=reason)
    assert await one.ask("hi")
    out, err = capsys.readouterr()
    assert out == "Hello\n"
    assert "9 prompt + 60 answer tokens, cost 0.0007 coins" in err
    assert ("cut at --max-tokens 60" in err) == (reason == "length")
    assert [dict(message)["content"] for message in one.messages] == ["hi", "Hello"]


@pytest.mark.parametrize("fresh", [True, False])
async def test_who_could_have_read_it_is_said(fresh: bool, capsys: pytest.CaptureFixture[str]):
    assert await talk(["yes"]).ask("hi")
    assert "receipt verified, operator (its owner can read this)" in capsys.readouterr().err
    stream = FakeStream(["yes"], None, "stop")
    stream.attestation = AttestationResult(
        provider="p", digest="d", steps=(), image="ab" * 32, fresh=fresh
    )
    assert await Talk(FakeClient(stream), "m", 60, None).ask("hi")
    said = capsys.readouterr().err
    assert f"attested{' for this session' if fresh else ''} as image abababababababab…" in said
    assert "operator" not in said


async def test_an_answer_that_broke_off(capsys: pytest.CaptureFixture[str]):
    one = talk(["Hel"], StreamTruncatedError("gone"))
    with pytest.raises(StreamTruncatedError):
        await one.ask("hi")
    out, err = capsys.readouterr()
    assert out == "Hel\n"
    assert "what arrived cost 0.0012 coins" in err
    assert one.messages == []


async def test_a_stopped_answer_is_kept_and_its_cost_told(capsys: pytest.CaptureFixture[str]):
    one = talk(["Hel"], asyncio.CancelledError())
    assert not await one.ask("hi")
    out, err = capsys.readouterr()
    assert out == "Hel\n"
    assert "0.0012 coins" in err
    assert len(one.messages) == 2
    nothing = talk([], asyncio.CancelledError())
    assert not await nothing.ask("hi")
    assert nothing.messages == []  # no question without an answer


async def test_a_reply_as_json(capsys: pytest.CaptureFixture[str]):
    assert await talk(["x"]).print_reply("hi")
    assert json.loads(capsys.readouterr().out) == {"text": "x"}
    assert not await talk([], asyncio.CancelledError()).print_reply("hi")
    out, err = capsys.readouterr()
    assert out == ""
    assert "0.0012 coins" in err


def test_a_conversation_goes_on_after_a_failed_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    client = FakeClient(
        FakeStream([], StreamTruncatedError("gone"), ""),
        FakeStream([], AttestationError("no", steps=[STEP]), ""),
        FakeStream(["yes"], None, "stop"),
    )
    lines = iter(["one\n", "two\n", "three\n", ""])
    monkeypatch.setattr(command, "_read_line", lambda: next(lines))
    with BackgroundLoop() as loop:
        command._converse(loop, Talk(client, "m", 60, None))
    out, err = capsys.readouterr()
    assert out == "yes\n"
    assert "error: gone" in err
    assert "FAILED  binding: another key\nerror: no\n" in err
    asked = [[m["content"] for m in messages] for messages in client.asked]
    assert asked == [["one"], ["two"], ["three"]]


async def _three() -> int:
    return 3


def test_results_errors_and_cancellation_come_back():
    async def fails() -> None:
        raise ValueError("no")

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with BackgroundLoop() as loop:
        assert loop.run(_three()) == 3
        with pytest.raises(ValueError, match="no"):
            loop.run(fails())
        with pytest.raises(KeyboardInterrupt):
            loop.run(cancelled())
        assert loop.run(_three()) == 3


CTRL_C = """
import asyncio
from cocoon_sdk.cli.background import BackgroundLoop
async def answer():
    print("begun", flush=True)
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        return "stopped"
with BackgroundLoop() as loop:
    try:
        print(loop.run(answer()), flush=True)
        input()
    except KeyboardInterrupt:
        print("left", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_stops_an_answer_and_leaves_a_prompt_at_once():
    with subprocess.Popen(
        [sys.executable, "-c", CTRL_C], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for expected in ("begun\n", "stopped\n"):
            assert child.stdout.readline() == expected
            child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "left\n"
        assert child.wait(timeout=10) == 0

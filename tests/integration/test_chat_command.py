"""`cocoon chat` on a terminal of its own, against a provider that begins to answer and waits."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.stub_provider import Customer, StubProvider, Talk, honest, make_customer

pty = pytest.importorskip("pty", reason="terminals as Unix has them")

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CTRL_C, CTRL_D = b"\x03", b"\x04"
PATIENCE = 40  # seconds without a byte from the child
SILENCE = 10.0  # far longer than the child takes to end: a key pressed then would kill it


class Terminal:
    """A child on a pseudo-terminal: what it shows, and keys for it."""

    def __init__(self, customer: Customer, *arguments: str) -> None:
        environment = {
            "COCOON_REGISTRY": str(customer.folder / "registry" / "registry.json"),
            "COCOON_TRUST": ",".join(customer.trust),
            "COCOON_ASSURANCE": "operator",
            "COCOON_STATE": customer.state_url,
            "COCOON_VOUCHER_KEY": str(customer.folder / "voucher.key"),
            "TERM": "xterm",
        }
        self._seen = b""
        self._left = False
        command = [sys.executable, "-m", "cocoon_sdk.cli", "chat", *arguments]
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, command, os.environ | environment)

    async def see(self, text: str) -> None:
        while text.encode() not in self._seen:
            more = await asyncio.to_thread(self._read)
            assert more, self._seen
            self._seen += more
        self._seen = self._seen.partition(text.encode())[2]

    def _ready(self, seconds: float) -> bool:
        return bool(select.select([self._file], [], [], seconds)[0])

    def _read(self) -> bytes:
        assert self._ready(PATIENCE), f"nothing more came for {PATIENCE} s after {self._seen!r}"
        return os.read(self._file, 4096)

    def press(self, keys: bytes) -> None:
        os.write(self._file, keys)

    async def leave(self, again: bytes = b"") -> int:
        """The exit status, once everything that it still shows was read.

        `again` is pressed after a silence: `input` misses a Ctrl-C that comes after its prompt and before it
        waits for keys, because CPython then looks at signals only once its select is interrupted.
        """
        with suppress(OSError):
            while True:
                while again and not await asyncio.to_thread(self._ready, SILENCE):
                    self.press(again)
                more = await asyncio.to_thread(self._read)
                if not more:
                    break
                self._seen += more
        _, status = await asyncio.to_thread(os.waitpid, self.pid, 0)
        self._left = True
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """Whatever the test came to: no child and no descriptor stays."""
        os.close(self._file)
        if not self._left:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@contextmanager
def terminal_of(customer: Customer, *arguments: str) -> Iterator[Terminal]:
    terminal = Terminal(customer, *arguments)
    try:
        yield terminal
    finally:
        terminal.close()


async def begins(talk: Talk) -> None:
    """The first words, and then nothing until the client cancels."""
    await talk.prefill()
    await talk.say("The quick brown fox")
    await asyncio.Event().wait()


@pytest.mark.timeout(60)
async def test_ctrl_c_in_a_conversation(tmp_path: Path) -> None:
    async with StubProvider(begins).listening() as stub:
        with terminal_of(make_customer(tmp_path, (stub, stub.descriptor()))) as terminal:
            await terminal.see("> ")
            terminal.press(b"hello\r")
            await terminal.see("brown fox")
            terminal.press(CTRL_C)
            await terminal.see("what arrived cost about 0.0")
            await terminal.see("> ")  # the conversation goes on
            terminal.press(CTRL_C)
            assert await terminal.leave(again=CTRL_C) == 130


@pytest.mark.timeout(60)
async def test_a_conversation_ends_with_ctrl_d(tmp_path: Path) -> None:
    async with StubProvider(honest()).listening() as stub:
        with terminal_of(make_customer(tmp_path, (stub, stub.descriptor()))) as terminal:
            await terminal.see("> ")
            terminal.press(b"hellp\x7fo\r")  # backspace edits the line
            await terminal.see("receipt verified")
            await terminal.see("> ")
            terminal.press(CTRL_D)
            assert await terminal.leave() == 0


@pytest.mark.timeout(60)
async def test_ctrl_c_in_a_single_answer(tmp_path: Path) -> None:
    async with StubProvider(begins).listening() as stub:
        with terminal_of(make_customer(tmp_path, (stub, stub.descriptor())), "hello") as terminal:
            await terminal.see("brown fox")
            terminal.press(CTRL_C)
            await terminal.see("what arrived cost about 0.0")
            assert await terminal.leave() == 130

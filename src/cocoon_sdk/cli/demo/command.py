"""The command: set the scene, buy one answer, redeem it, show what happened."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from cocoon_sdk.cli.demo.report import DemoResult, as_json, print_result
from cocoon_sdk.cli.demo.scene import Scene, program
from cocoon_sdk.cli.output import escape_controls, print_json, run_async, tell
from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.settings import state_dir
from cocoon_sdk.types.chat import ChatCompletion
from cocoon_sdk.types.events import Event, FirstToken, ReceiptStored, SessionReady

app = typer.Typer(help="Run the whole system once, on real input.", add_completion=False)

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_PROMPT = "Explain in two short sentences why the sky is blue."


@app.command()
def demo(
    prompt: Annotated[str, typer.Option(help="What to ask.")] = DEFAULT_PROMPT,
    model: Annotated[str, typer.Option(help="A model of the catalogue.")] = DEFAULT_MODEL,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 160,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")
    ] = False,
    as_json_line: Annotated[
        bool,
        typer.Option(
            "--json", help="One JSON line on standard output; all else on standard error."
        ),
    ] = False,
) -> None:
    """Pull a model, start a devnet and a provider, buy one answer, redeem its voucher on chain."""
    root = state_dir() / "demo"
    root.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="run-", dir=root))
    _unwind_on_signals()
    scene = Scene(home, model)
    try:
        scene.build(_say)
        run_async(_Visit(scene, prompt, max_tokens, temperature).run(as_json_line))
        if keep:
            _stay(scene)
        else:
            tell(f"\nNext: `{_again()}` leaves all of it running for you to use.")
    finally:
        try:
            scene.close()
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _again() -> str:
    """The command that was typed, with --keep."""
    by_make = "MAKELEVEL" in os.environ
    return "make demo ARGS=--keep" if by_make else f"{program()} demo --keep"


def _unwind_on_signals() -> None:
    """SIGTERM, and a terminal that is closed, unwind like Ctrl-C, so that the children are reaped."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, lambda got, _: sys.exit(128 + got))


def _say(text: str) -> None:
    tell(f"• {text}", style="cyan")


def _stay(scene: Scene) -> None:
    tell("\nEverything is still running. In another terminal:\n", style="bold")
    for line in scene.shell_lines():
        tell(f"  {line}")
    tell("\nCtrl-C here ends it.", style="bold")
    try:
        _wait_for_signal()
    except KeyboardInterrupt:
        _say("stopping")


def _wait_for_signal() -> None:
    while True:
        time.sleep(3600)


class _Visit:
    """One paid answer, observed through the client's events."""

    def __init__(self, scene: Scene, prompt: str, max_tokens: int, temperature: float) -> None:
        self._scene = scene
        self._prompt = prompt
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._suite = 0
        self._first_token_ms = 0.0
        self._first_token_at = 0.0
        self._receipt_at = 0.0
        self._frames = 0
        self._bytes = 0

    async def run(self, as_json_line: bool) -> None:
        scene = self._scene
        before = await scene.fund(_say)
        await scene.open_channel(_say)
        _say(f"asking: {self._prompt}")
        async with scene.client(self._on_event) as client:
            completion = await self._ask(client, sys.stderr if as_json_line else sys.stdout)
        provider_before = (await scene.balances()).provider
        _say("the provider redeems its voucher")
        redeemed = await asyncio.to_thread(scene.redeem)
        after = await scene.balances()
        result = DemoResult(
            **self._measured(completion),
            paid_nano=completion.usage.cost_nano,
            redeemed_nano=redeemed,
            provider_balance_before_nano=provider_before,
            provider_balance_after_nano=after.provider,
            chain_fees_nano=before.total - after.total,
            receipt_verified=await scene.receipt_is_stored(completion.receipt.raw),
            registry_verified=await scene.registry_verifies(),
        )
        print_result(result, before, after, stderr=as_json_line)
        if as_json_line:
            print_json(as_json(result))

    async def _ask(self, client: AsyncCocoon, screen: TextIO) -> ChatCompletion:
        screen.write("\n")
        async with client.chat.completions.stream(
            model=self._scene.model,
            messages=[{"role": "user", "content": self._prompt}],
            max_tokens=self._max_tokens,
            temperature=self._temperature,
            seed=1,
        ) as stream:
            async for text in stream.text_stream:
                screen.write(escape_controls(text))
                screen.flush()
            screen.write("\n\n")
            return await stream.get_final_completion()

    def _on_event(self, event: Event) -> None:
        match event:
            case SessionReady(suite=suite):
                self._suite = suite
                _say(f"registry verified, encrypted session ready (suite {suite})")
            case FirstToken(milliseconds=milliseconds):
                self._first_token_ms = milliseconds
                self._first_token_at = time.perf_counter()
            case ReceiptStored(frames_on_wire=frames, bytes_on_wire=size):
                self._frames, self._bytes = frames, size
                self._receipt_at = time.perf_counter()

    def _measured(self, completion: ChatCompletion) -> dict[str, Any]:
        generating = max(1e-9, self._receipt_at - self._first_token_at)
        return {
            "model": completion.model,
            "text": completion.text,
            "prompt_tokens": completion.usage.prompt_tokens,
            "completion_tokens": completion.usage.completion_tokens,
            "first_token_ms": round(self._first_token_ms, 1),
            "tokens_per_second": round(completion.usage.completion_tokens / generating, 1),
            "handshake_suite": self._suite,
            "frames_on_wire": self._frames,
            "bytes_on_wire": self._bytes,
        }

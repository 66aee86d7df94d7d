"""`cocoon chat`: one question, or a conversation. The answer streams and its cost is shown."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from cocoon_sdk.cli.output import escape_controls, print_json, run_async, tell
from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.errors import CocoonError, ConfigError
from cocoon_sdk.resources.params import DEFAULT_MAX_TOKENS, Message
from cocoon_sdk.streaming import AsyncChatStream
from cocoon_sdk.types.chat import Usage

app = typer.Typer(help="Talk to a provider; the answer streams, the cost is shown.")


@app.command()
def chat(
    prompt: Annotated[
        str | None, typer.Argument(help="One question; without it, a conversation.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model id; default: the only one listed.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    max_tokens: Annotated[
        int, typer.Option(help="Longest answer, in tokens.")
    ] = DEFAULT_MAX_TOKENS,
    temperature: Annotated[
        float | None, typer.Option(help="0 is greedy; default: the model's.")
    ] = None,
    registry: Annotated[str | None, typer.Option(help="URL or path. [COCOON_REGISTRY]")] = None,
    trust: Annotated[
        list[str] | None, typer.Option(help="Root key, repeatable; or a root.json. [COCOON_TRUST]")
    ] = None,
    assurance: Annotated[
        str | None, typer.Option(help="operator or attested. [COCOON_ASSURANCE]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reply as JSON.")] = False,
) -> None:
    """Ask a provider of the registry. Ctrl-C stops the answer, and paying for it."""
    if prompt is None and as_json:
        raise ConfigError("--json needs a prompt: cocoon chat --json 'your question'")
    _check_settings(registry, trust, assurance)

    async def main() -> None:
        async with AsyncCocoon(
            registry=registry, trust=_trust(trust), assurance=assurance
        ) as client:
            chosen = model or await _only_model(client)
            talk = _Talk(client, chosen, max_tokens, temperature)
            if system is not None:
                talk.messages.append(Message(role="system", content=system))
            if prompt is None:
                await talk.converse()
            elif as_json:
                await talk.print_reply(prompt)
            else:
                await talk.ask(prompt)

    run_async(main())


def _check_settings(registry: str | None, trust: list[str] | None, assurance: str | None) -> None:
    """What the client would miss, in the words of the command line.

    Raises:
        ConfigError: names the option and the variable of the first setting that is absent.
    """
    if not (registry or os.environ.get("COCOON_REGISTRY")):
        raise ConfigError("no registry: pass --registry or set COCOON_REGISTRY")
    if not (trust or os.environ.get("COCOON_TRUST")):
        raise ConfigError(
            "no root of trust: pass --trust (root keys of the registry, or a root.json that you trust) "
            "or set COCOON_TRUST"
        )
    if not (assurance or os.environ.get("COCOON_ASSURANCE")):
        raise ConfigError(
            "choose --assurance operator (the GPU's owner can read prompts) or --assurance attested, "
            "or set COCOON_ASSURANCE; there is no default"
        )


def _trust(given: list[str] | None) -> list[str] | Path | None:
    """Root keys as they are; anything else that stands alone is the path of a root.json."""
    if given and len(given) == 1 and not given[0].startswith("ed25519:"):
        return Path(given[0]).expanduser()
    return given


async def _only_model(client: AsyncCocoon) -> str:
    names = [model.id for model in await client.models.list()]
    if len(names) != 1:
        raise ConfigError(
            f"the registry lists {len(names)} models ({', '.join(names)}); choose one with --model"
            if names
            else "the registry lists no model yet; its operator adds providers: cocoon registry add"
        )
    return names[0]


class _Talk:
    def __init__(
        self, client: AsyncCocoon, model: str, max_tokens: int, temperature: float | None
    ) -> None:
        self._client = client
        self._model = model
        self._max_tokens = max_tokens
        self._temperature = temperature
        self.messages: list[Message] = []

    def _stream(self, text: str) -> AsyncChatStream:
        self.messages.append(Message(role="user", content=text))
        return self._client.chat.completions.stream(
            model=self._model,
            messages=self.messages,
            max_tokens=self._max_tokens,
            temperature=self._temperature,
        )

    async def print_reply(self, text: str) -> None:
        async with self._stream(text) as stream:
            print_json((await stream.get_final_completion()).to_dict())

    async def ask(self, text: str) -> None:
        """Stream one answer; Ctrl-C ends it and keeps what has come."""
        said: list[str] = []
        usage: Usage | None = None
        async with self._stream(text) as stream:
            reader = asyncio.ensure_future(_print_stream(stream, said))
            with _interrupts(reader):
                try:
                    usage = await reader
                except asyncio.CancelledError:
                    tell("\nstopped; nothing more is paid", style="yellow")
        self.messages.append(Message(role="assistant", content="".join(said)))
        if usage is not None:
            tell(
                f"{usage.prompt_tokens} prompt + {usage.completion_tokens} answer tokens, "
                f"{usage.cost} coins, receipt verified",
                style="dim",
            )

    async def converse(self) -> None:
        """Read questions until the end of input. A failed one does not end the conversation."""
        tell(f"{self._model}; an empty line or Ctrl-D ends.", style="dim")
        while True:
            sys.stderr.write("> ")
            sys.stderr.flush()
            line = await asyncio.to_thread(sys.stdin.readline)
            if not line.strip():
                return
            try:
                await self.ask(line.strip())
            except CocoonError as error:
                self.messages.pop()
                tell(f"error: {escape_controls(str(error))}", style="red")


async def _print_stream(stream: AsyncChatStream, said: list[str]) -> Usage | None:
    usage: Usage | None = None
    async for chunk in stream:
        if chunk.text:
            said.append(chunk.text)
            sys.stdout.write(escape_controls(chunk.text))
            sys.stdout.flush()
        usage = chunk.usage or usage
    sys.stdout.write("\n")
    sys.stdout.flush()
    return usage


class _interrupts:  # noqa: N801 - a context manager that reads as a verb
    """Ctrl-C cancels the task instead of ending the process, where the platform allows it."""

    def __init__(self, task: asyncio.Future[Usage | None]) -> None:
        self._task = task

    def __enter__(self) -> None:
        if sys.platform != "win32":
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._task.cancel)

    def __exit__(self, *_: object) -> None:
        if sys.platform != "win32":
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

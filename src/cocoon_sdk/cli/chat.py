"""`cocoon chat`: one question, or a conversation. The answer streams and its cost is shown."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cocoon_sdk.attestation.policy import load_policy
from cocoon_sdk.cli.background import BackgroundLoop
from cocoon_sdk.cli.output import escape_controls, tell, tell_steps
from cocoon_sdk.cli.talk import Talk
from cocoon_sdk.client import AsyncCocoon
from cocoon_sdk.errors import AttestationError, CocoonError, ConfigError
from cocoon_sdk.resources.params import DEFAULT_MAX_TOKENS, Message
from cocoon_sdk.transport.question import missing

app = typer.Typer(
    help="Talk to a provider; the answer streams, the cost is shown.", add_completion=False
)


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
    attestation: Annotated[
        Path | None, typer.Option(help="Policy file for attested. [COCOON_ATTESTATION]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reply as JSON.")] = False,
) -> None:
    """Ask a provider of the registry. Ctrl-C stops the answer, and paying for it."""
    if prompt is None and as_json:
        raise ConfigError("--json needs a prompt: cocoon chat --json 'your question'")
    _check_settings(registry, trust, assurance)
    _check_policy(assurance, attestation)

    with BackgroundLoop() as loop:
        client = AsyncCocoon(
            registry=registry, trust=_trust(trust), assurance=assurance, attestation=attestation
        )
        try:
            chosen = model or loop.run(_only_model(client))
            talk = Talk(client, chosen, max_tokens, temperature)
            if system is not None:
                talk.messages.append(Message(role="system", content=system))
            if prompt is None:
                _converse(loop, talk)
            elif not loop.run(talk.print_reply(prompt) if as_json else talk.ask(prompt)):
                raise KeyboardInterrupt
        finally:
            loop.run(client.close())


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


def _check_policy(assurance: str | None, given: Path | None) -> None:
    """The client reads the file when it has something to judge; a wrong path would then pass unseen.

    Raises:
        ConfigError: attestation is demanded, and its policy cannot be read.
    """
    named = given or os.environ.get("COCOON_ATTESTATION")
    if named and (assurance or os.environ.get("COCOON_ASSURANCE")) == "attested":
        load_policy(Path(named).expanduser())


def _trust(given: list[str] | None) -> list[str] | Path | None:
    """Root keys as they are; anything else that stands alone is the path of a root.json."""
    if given and len(given) == 1 and not given[0].startswith("ed25519:"):
        return Path(given[0]).expanduser()
    return given


async def _only_model(client: AsyncCocoon) -> str:
    names = [model.id for model in await client.models.list()]
    if not names:
        snapshot = await client.request_settings().core.registry.snapshot()
        raise ConfigError(
            "the registry lists no model yet; its operator adds providers: cocoon registry add"
            + missing(snapshot)
        )
    if len(names) > 1:
        raise ConfigError(
            f"the registry lists {len(names)} models ({', '.join(names)}); choose one with --model"
        )
    return names[0]


def _converse(loop: BackgroundLoop, talk: Talk) -> None:
    """Read questions until the end of input. A failed one does not end the conversation."""
    tell(f"{talk.model}; an empty line or Ctrl-D ends.", style="dim")
    while True:
        line = _read_line().strip()
        if not line:
            return
        try:
            loop.run(talk.ask(line))
        except CocoonError as error:
            if isinstance(error, AttestationError):
                tell_steps(error.steps)
            tell(f"error: {escape_controls(str(error))}", style="red")


def _read_line() -> str:
    """One line, with editing and history on a terminal; empty at the end of input."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - `input` then edits lines
        try:
            return input("> ")
        except EOFError:
            return ""
    sys.stderr.write("> ")
    sys.stderr.flush()
    return sys.stdin.readline()

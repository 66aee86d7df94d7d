"""The client: settings, and the resources that hang on it. Constructing one does no I/O."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from cocoon_sdk.attestation.policy import AttestationPolicy, load_policy
from cocoon_sdk.attestation.verifier import AttestationVerifier, TdxVerifier
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import Ed25519Key, load_key
from cocoon_sdk.payments.budget import Budget, BudgetLedger
from cocoon_sdk.payments.ledger import CLIENT_MIGRATIONS
from cocoon_sdk.registry.several import (
    RegistrySpec,
    chain_from_environment,
    open_registries,
    registry_sources,
)
from cocoon_sdk.registry.trust import TrustSource
from cocoon_sdk.resources.chat import AsyncChat
from cocoon_sdk.resources.models import AsyncModels
from cocoon_sdk.routing.policy import Assurance, Routing
from cocoon_sdk.settings import cache_dir, state_dir
from cocoon_sdk.store.database import Database, default_url
from cocoon_sdk.transport.attest import Attestations
from cocoon_sdk.transport.core import Core, Timeouts
from cocoon_sdk.transport.prewarm import prewarm
from cocoon_sdk.transport.question import Question
from cocoon_sdk.types.events import Event

ASSURANCES: Final = ("operator", "attested")


class _Unset:
    """Marks an argument that was not given, where None has a meaning of its own."""


UNSET: Final = _Unset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSettings:
    """What a request takes from its client."""

    core: Core
    assurance: Assurance
    routing: Routing
    timeouts: Timeouts
    allow_private: bool


class AsyncCocoon:
    """Buys inference from the providers of a signed registry.

    Args:
        registry: URL, path or bytes of the registry file; or a list of `RegistrySource`, to choose
            among the providers of several. Environment: COCOON_REGISTRY, several separated by
            semicolons.
        trust: Root keys (`ed25519:<hex>`), or a pinned root.json (path or bytes). Environment:
            COCOON_TRUST, comma-separated; with semicolons between the keys of several registries.
        trust_threshold: How many of `trust` must have signed the root; default: a strict majority.
        anchor: `"off"`, or compare the registry with the account on chain that its root names:
            `"warn"`, `"require"`. Environment: COCOON_ANCHOR.
        assurance: `"operator"` accepts that a GPU owner can read prompts; `"attested"` demands
            attestation. There is no default. Environment: COCOON_ASSURANCE.
        attestation: With `"attested"`: what is accepted, an `AttestationPolicy` or the path of its JSON
            file. Environment: COCOON_ATTESTATION (a path).
        attestation_verifier: Replaces the verifier of Intel TDX quotes (extra `[tdx]`).
        voucher_key: File of the master key from which voucher keys are derived, made by
            `cocoon wallet open`; None for free providers only. Environment:
            COCOON_VOUCHER_KEY; default: under the state folder.
        budget: Spending limits.
        routing: How to choose among providers.
        timeouts: Seconds for connect, first_token, idle, total.
        state: Database URL of the ledger; default: SQLite under the state folder. Environment:
            COCOON_STATE.
        on_event: Receives typed events (`cocoon_sdk.types.events`) without any prompt or answer text.
        allow_private: Accept providers on private addresses.
        padding: `"default"`; `"strict"` hides the pace and exact length of answers as well, at the price of
            bandwidth and some seconds; `"off"` for benchmarks on loopback.

    Raises:
        ConfigError: a setting is missing or wrong; the message names it and where it came from.
    """

    def __init__(
        self,
        *,
        registry: RegistrySpec | None = None,
        trust: TrustSource | None = None,
        trust_threshold: int | None = None,
        anchor: str | None = None,
        assurance: str | None = None,
        attestation: AttestationPolicy | str | Path | None = None,
        attestation_verifier: AttestationVerifier | None = None,
        voucher_key: str | Path | _Unset | None = UNSET,
        budget: Budget | None = None,
        routing: Routing | None = None,
        timeouts: Timeouts | None = None,
        state: str | None = None,
        on_event: Callable[[Event], None] | None = None,
        allow_private: bool = False,
        padding: str = "default",
    ) -> None:
        sources = registry_sources(registry, trust, trust_threshold=trust_threshold, anchor=anchor)
        level = _assurance(assurance)
        state_url = state or os.environ.get("COCOON_STATE") or default_url("client")
        self._settings = RequestSettings(
            core=Core(
                registry=open_registries(
                    sources,
                    cache_dir=cache_dir() / "registry",
                    allow_private=allow_private,
                    open_chain=chain_from_environment,
                ),
                database=lambda: Database(state_url, migrations=CLIENT_MIGRATIONS),
                master=_master_key(voucher_key),
                budget=lambda database: BudgetLedger(database, budget or Budget()),
                on_event=on_event,
                padding=padding,
                attestations=_attestations(level, attestation, attestation_verifier),
            ),
            assurance=level,
            routing=routing or Routing(),
            timeouts=timeouts or Timeouts(),
            allow_private=allow_private,
        )
        self._owner = True
        self.chat = AsyncChat(self)
        self.models = AsyncModels(self)

    def request_settings(self) -> RequestSettings:
        """The settings that a request made now will use."""
        return self._settings

    def with_options(
        self, *, routing: Routing | None = None, timeouts: Timeouts | None = None
    ) -> AsyncCocoon:
        """A cheap copy with other options that shares sessions, channels and budget.

        Closing the copy does nothing; close the client it came from.
        """
        copy = object.__new__(AsyncCocoon)
        changes: dict[str, Any] = {}
        if routing is not None:
            changes["routing"] = routing
        if timeouts is not None:
            changes["timeouts"] = timeouts
        copy._settings = replace(self._settings, **changes)
        copy._owner = False
        copy.chat = AsyncChat(copy)
        copy.models = AsyncModels(copy)
        return copy

    async def prewarm(self, *, model: str) -> str:
        """Get ready for the first request: registry, handshake and tokenizer of the provider that would answer.

        Returns its id (hex). The session waits some minutes; nothing is reserved or paid.

        Raises:
            CocoonError: as a request would, before it is sent.
        """
        settings = self._settings
        question = Question(
            model=model,
            kind="chat",
            body={},
            prompt_bytes=0,
            message_count=0,
            max_tokens=1,
            seed=0,
            assurance=settings.assurance,
            routing=settings.routing,
            timeouts=settings.timeouts,
            allow_private=settings.allow_private,
            salt=settings.core.salt,
        )
        return await prewarm(settings.core, question)

    async def refresh_channels(self) -> None:
        """Take notice of channels that were opened or closed by another process."""
        self._settings.core.enter()
        await self._settings.core.reload_channels()

    async def close(self) -> None:
        """Close sessions and the ledger. Cancelled requests get a moment to take their receipts."""
        if self._owner:
            await self._settings.core.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        settings = getattr(self, "_settings", None)
        if settings is not None and self._owner and settings.core.opened:
            warnings.warn(
                "an AsyncCocoon was not closed; use `async with` or `await client.close()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


def _assurance(given: str | None) -> Assurance:
    value, origin = given, "assurance="
    if value is None:
        value, origin = os.environ.get("COCOON_ASSURANCE"), "COCOON_ASSURANCE"
    if value == "operator":
        return "operator"
    if value == "attested":
        return "attested"
    if value is None:
        raise ConfigError(
            "choose assurance='operator' (the GPU's owner can read prompts) or assurance='attested'; "
            "there is no default"
        )
    raise ConfigError(f"{origin} is {value!r}; use one of {', '.join(ASSURANCES)}")


def _attestations(
    assurance: Assurance,
    given: AttestationPolicy | str | Path | None,
    verifier: AttestationVerifier | None,
) -> Attestations | None:
    if assurance != "attested":
        if given is not None:
            raise ConfigError(
                "attestation= says what to demand, but assurance='operator' demands nothing; "
                "choose assurance='attested', or leave it out"
            )
        return None
    source = given if given is not None else os.environ.get("COCOON_ATTESTATION")
    if not source:
        raise ConfigError(
            "assurance='attested' needs to know which machines you trust: pass "
            "attestation=AttestationPolicy(images=[...]), or set COCOON_ATTESTATION to a policy file"
        )
    return Attestations(_policy(source), verifier or TdxVerifier())


def _policy(source: AttestationPolicy | str | Path) -> Callable[[], AttestationPolicy]:
    if isinstance(source, AttestationPolicy):
        return lambda: source
    path = Path(source).expanduser()
    return lambda: load_policy(path)


def _master_key(given: str | Path | _Unset | None) -> Callable[[], Ed25519Key | None]:
    if given is None:
        return lambda: None
    if isinstance(given, _Unset):
        named = os.environ.get("COCOON_VOUCHER_KEY")
        path = Path(named).expanduser() if named else state_dir() / "voucher.key"
    else:
        path = Path(given).expanduser()
    # `cocoon wallet open` makes it; a new key could not sign for any channel.
    return lambda: load_key(path) if path.exists() else None

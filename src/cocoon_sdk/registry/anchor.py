"""The newest version and digest on chain: a mirror that hides it, and signers who fork, are found out.

The account that the root names holds `version:uint64 root_version:uint32 digest:uint256` in its data
cell, written by the registry's signers (registry.md, "Fetch and cache").
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from cocoon_sdk.errors import (
    ChainError,
    ConfigError,
    RegistryEquivocationError,
    RegistryError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistryUnavailableError,
)
from cocoon_sdk.registry.model import RootPayload
from cocoon_sdk.registry.network import parse_network
from cocoon_sdk.registry.verified import Seen, VerifiedRegistry
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.chain import ChainClient

AnchorPolicy = Literal["off", "warn", "require"]
ANCHOR_POLICIES: tuple[AnchorPolicy, ...] = ("off", "warn", "require")

_BITS = 64 + 32 + 256

_log = logging.getLogger(__name__)


def parse_anchor(data: bytes) -> Seen:
    """The content of an anchor's data cell (a bag of cells).

    Raises:
        RegistryFormatError: another layout.
    """
    from cocoon_sdk.ton.cells import cell_from_boc  # pytoniq-core costs start-up time

    try:
        cell = cell_from_boc(data)
        reader = cell.begin_parse()
        if cell.bit_length != _BITS or cell.refs:
            raise RegistryFormatError(
                f"the anchor's data has {cell.bit_length} bits and {len(cell.refs)} references, "
                f"expected {_BITS} and none"
            )
        version, root_version = reader.load_uint(64), reader.load_uint(32)
        return Seen(root_version, version, reader.load_bytes(32))
    except ChainError as error:
        raise RegistryFormatError(f"the anchor's data cannot be read: {error}") from None


async def read_anchor(chain: ChainClient, root: RootPayload) -> Seen:
    """What the anchor of a root says now.

    Raises:
        ConfigError: the chain is another than the registry's.
        RegistryFormatError: the root names no anchor, or its account holds something else.
        RegistryUnavailableError: the chain cannot be asked.
    """
    if root.anchor is None:
        raise RegistryFormatError(
            f"root {root.version} of {root.network} names no anchor; use anchor='off' or 'warn'"
        )
    expected = parse_network(root.network)[0]
    if chain.network != expected:
        raise ConfigError(
            f"the anchor of {root.network} is on chain {expected}, but the chain API in use is of "
            f"{chain.network}; set COCOON_CHAIN to one of that chain"
        )
    contract = root.anchor.contract
    try:
        address = Address.parse(contract)
    except ConfigError as error:
        raise RegistryFormatError(f"the anchor of root {root.version}: {error}") from None
    try:
        account = await chain.get_account(address)
    except ChainError as error:
        raise RegistryUnavailableError(f"the anchor {contract} cannot be read: {error}") from error
    if account.status != "active" or account.data is None:
        raise RegistryFormatError(f"the anchor {contract} is {account.status}, it holds no version")
    return parse_anchor(account.data)


def compare_with_anchor(registry: VerifiedRegistry, anchor: Seen) -> RegistryError | None:
    """What is wrong with a registry by its anchor; None if nothing. The file may be the newer one.

    The error returned is RegistryRollbackError where the anchor is newer, and
    RegistryEquivocationError where it has the same version with another digest.
    """
    seen = registry.seen
    if anchor[:2] > seen[:2]:
        return RegistryRollbackError(
            f"the anchor on chain names version {anchor.version} (root {anchor.root_version}), but "
            f"no mirror shows more than version {seen.version} (root {seen.root_version})"
        )
    if anchor[:2] == seen[:2] and anchor.digest != seen.digest:
        return RegistryEquivocationError(
            f"version {seen.version} has the digest {anchor.digest.hex()} on chain, but the file has "
            f"{seen.digest.hex()}; tell others, do not use it",
            envelopes=(registry.raw,),
        )
    return None


class AnchorCheck:
    """What the anchor said last, and what follows from it.

    Args:
        policy: `"off"` never asks; `"warn"` tells of what is wrong in `problem` and the log;
            `"require"` refuses a registry that the anchor did not confirm once.
        open_chain: makes the client of a chain, by its global id; the public API's when None.
    """

    def __init__(
        self, policy: AnchorPolicy, open_chain: Callable[[int], ChainClient] | None = None
    ) -> None:
        self.policy = policy
        self.problem: RegistryError | None = None
        self.confirmed_digest: bytes | None = None  # the newest
        self._open_chain = open_chain or _public_chain
        self._chain: ChainClient | None = None
        self._confirmed: set[bytes] = set()
        self._anchor: Seen | None = None
        self._failure: RegistryError | None = None

    def recall(self, digest: bytes | None) -> None:
        """Take over what another process confirmed."""
        if digest is not None:
            self._confirmed.add(digest)
            self.confirmed_digest = self.confirmed_digest or digest

    def allows(self, registry: VerifiedRegistry) -> bool:
        """Whether a registry may serve without asking the chain."""
        return self.policy != "require" or registry.digest in self._confirmed

    async def is_newer(self, root: RootPayload | None, registry: VerifiedRegistry) -> bool:
        """Ask the chain; whether it names a newer registry than this one."""
        if self.policy == "off" or root is None:
            return False
        self._anchor, self._failure = None, None
        if self._chain is None:
            self._chain = self._open_chain(parse_network(root.network)[0])
        try:
            self._anchor = await read_anchor(self._chain, root)
        except RegistryError as error:
            self._failure = error
            return False
        return self._anchor[:2] > registry.seen[:2]

    def judge(self, registry: VerifiedRegistry) -> None:
        """Decide by what the chain said last.

        Raises:
            RegistryError: the policy is `"require"`, and the anchor is newer, differs, or could not be
                read before it ever confirmed this registry.
        """
        if self.policy == "off":
            return
        problem = self._failure
        if self._anchor is not None:
            problem = compare_with_anchor(registry, self._anchor)
            if problem is None:
                self._confirmed.add(registry.digest)
                self.confirmed_digest = registry.digest
        elif self.policy == "require" and registry.digest in self._confirmed:
            _log.warning("the anchor is not readable, a registry that it confirmed serves on")
            problem = None
        self.problem = problem
        if problem is None:
            return
        if self.policy == "require":
            raise problem
        _log.warning("anchor: %s", problem)

    async def aclose(self) -> None:
        """Release the chain's connections."""
        if self._chain is not None:
            await self._chain.aclose()
            self._chain = None


def _public_chain(network: int) -> ChainClient:
    from cocoon_sdk.ton.toncenter import ToncenterClient  # httpx costs start-up time

    return ToncenterClient(network=network)

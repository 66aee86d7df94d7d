"""What the chain says of a registry, read through a fake chain client."""

from __future__ import annotations

from typing import Any

import pytest
from fake_anchor import CONTRACT, FakeChainClient, anchor_data
from registry_world import HASH, NOW, World

from cocoon_sdk.errors import (
    ConfigError,
    RegistryEquivocationError,
    RegistryError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistryUnavailableError,
)
from cocoon_sdk.registry import anchor as anchor_module
from cocoon_sdk.registry.anchor import (
    AnchorCheck,
    compare_with_anchor,
    parse_anchor,
    read_anchor,
)
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.verify import Seen, TrustedSet, VerifiedRegistry
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, cell_to_boc
from cocoon_sdk.ton.chain import AccountState, ChainClient
from cocoon_sdk.ton.toncenter import ToncenterClient

pytestmark = pytest.mark.anyio


def check_of(policy: Any, chain: FakeChainClient) -> AnchorCheck:
    def open_chain(network: int) -> ChainClient:
        assert network == -217
        return chain  # type: ignore[return-value] # as much of one as an anchor needs

    return AnchorCheck(policy, open_chain)


def accepted(**root: Any) -> tuple[TrustedSet, VerifiedRegistry]:
    world = World()
    trusted = TrustedSet(parse_trust(world.trust))
    trusted.update_root(world.make_root(1, anchor={"contract": CONTRACT}, **root))
    return trusted, trusted.update_registry(world.registry_raw or b"", NOW)


async def judged(policy: Any, chain: FakeChainClient) -> tuple[AnchorCheck, bool]:
    trusted, registry = accepted()
    check = check_of(policy, chain)
    newer = await check.is_newer(trusted.root, registry)
    check.judge(registry)
    return check, newer


def test_the_layout_of_the_data_cell() -> None:
    seen = Seen(7, 2**64 - 1, bytes(range(32)))
    assert parse_anchor(anchor_data(seen)) == seen
    for cell in (
        Builder().end_cell(),
        Builder().store_bytes(bytes(43)).end_cell(),
        Builder().store_bytes(bytes(45)).end_cell(),
        Builder().store_bytes(bytes(44)).store_ref(Builder().end_cell()).end_cell(),
    ):
        with pytest.raises(RegistryFormatError, match="expected 352"):
            parse_anchor(cell_to_boc(cell))
    with pytest.raises(RegistryFormatError, match="cannot be read"):
        parse_anchor(b"rubbish")


async def test_the_account_that_the_root_names_is_asked() -> None:
    trusted, registry = accepted()
    assert trusted.root is not None
    chain = FakeChainClient(registry.seen)
    assert await read_anchor(chain, trusted.root) == registry.seen  # type: ignore[arg-type] # a fake
    assert chain.asked == [Address.parse(CONTRACT)]


async def test_what_is_no_anchor() -> None:
    trusted, registry = accepted()
    root = trusted.root
    assert root is not None
    chain: Any = FakeChainClient(registry.seen, network=-239)
    with pytest.raises(ConfigError, match="is on chain -217, but the chain API in use is of -239"):
        await read_anchor(chain, root)
    with pytest.raises(RegistryFormatError, match="is uninit"):
        await read_anchor(FakeChainClient(None), root)  # type: ignore[arg-type] # a fake
    chain = FakeChainClient(registry.seen)
    chain.down = True
    with pytest.raises(RegistryUnavailableError, match="the chain is down"):
        await read_anchor(chain, root)
    world = World()
    for made, says in (
        (world.make_root(1), "names no anchor"),
        (world.make_root(1, anchor={"contract": f"5:{HASH}"}), "anchor of root 1"),
    ):
        other = TrustedSet(parse_trust(made))
        assert other.root is not None
        with pytest.raises(RegistryFormatError, match=says):
            await read_anchor(FakeChainClient(registry.seen), other.root)  # type: ignore[arg-type] # a fake


def test_file_and_anchor_compared() -> None:
    _, registry = accepted()
    seen = registry.seen
    assert compare_with_anchor(registry, seen) is None
    assert compare_with_anchor(registry, Seen(1, 0, bytes(32))) is None
    assert compare_with_anchor(registry, Seen(0, 99, bytes(32))) is None
    for newer in (Seen(1, 2, seen.digest), Seen(2, 1, seen.digest)):
        assert isinstance(compare_with_anchor(registry, newer), RegistryRollbackError)
    fork = compare_with_anchor(registry, Seen(1, 1, bytes(32)))
    assert isinstance(fork, RegistryEquivocationError)
    assert fork.envelopes == (registry.raw,)


async def test_off_never_asks() -> None:
    chain = FakeChainClient(Seen(9, 9, bytes(32)))
    check, newer = await judged("off", chain)
    assert not newer
    assert chain.asked == []
    assert check.problem is None
    await check.aclose()


@pytest.mark.parametrize("policy", ["warn", "require"])
async def test_agreement_confirms(policy: str) -> None:
    _, registry = accepted()
    check, newer = await judged(policy, FakeChainClient(registry.seen))
    assert not newer
    assert check.problem is None
    assert check.confirmed_digest == registry.digest
    assert check.allows(registry)


async def test_without_a_root_there_is_nothing_to_ask() -> None:
    _, registry = accepted()
    chain = FakeChainClient(registry.seen)
    assert not await check_of("require", chain).is_newer(None, registry)
    assert chain.asked == []


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (Seen(1, 5, bytes(32)), RegistryRollbackError),
        (Seen(1, 1, bytes(32)), RegistryEquivocationError),
        (None, RegistryFormatError),
    ],
)
async def test_disagreement_is_told_or_refused(
    said: Seen | None, error: type[RegistryError], caplog: pytest.LogCaptureFixture
) -> None:
    check, newer = await judged("warn", FakeChainClient(said))
    assert newer == (error is RegistryRollbackError)
    assert isinstance(check.problem, error)
    assert "anchor:" in caplog.text
    _, registry = accepted()
    assert check.allows(registry)
    with pytest.raises(error):
        await judged("require", FakeChainClient(said))


async def test_a_chain_that_is_down_refuses_what_it_never_confirmed() -> None:
    trusted, registry = accepted()
    chain = FakeChainClient(registry.seen)
    chain.down = True
    check = check_of("require", chain)
    assert not check.allows(registry)
    await check.is_newer(trusted.root, registry)
    with pytest.raises(RegistryUnavailableError):
        check.judge(registry)
    chain.down = False
    await check.is_newer(trusted.root, registry)
    check.judge(registry)
    assert check.problem is None
    chain.down = True
    await check.is_newer(trusted.root, registry)
    check.judge(registry)  # what was confirmed serves on
    assert check.problem is None
    assert check.allows(registry)
    warned = check_of("warn", chain)
    await warned.is_newer(trusted.root, registry)
    warned.judge(registry)
    assert isinstance(warned.problem, RegistryUnavailableError)


async def test_what_another_process_confirmed_counts() -> None:
    _, registry = accepted()
    check = check_of("require", FakeChainClient())
    check.recall(None)
    assert check.confirmed_digest is None
    check.recall(registry.digest)
    check.recall(b"older")
    assert check.allows(registry)
    assert check.confirmed_digest == registry.digest


async def test_one_client_is_opened_and_closed() -> None:
    trusted, registry = accepted()
    chain, opened = FakeChainClient(registry.seen), []

    def open_chain(network: int) -> Any:
        opened.append(network)
        return chain

    check = AnchorCheck("warn", open_chain)
    for _ in range(2):
        await check.is_newer(trusted.root, registry)
    assert opened == [-217]
    await check.aclose()
    assert chain.closed


async def test_the_public_chain_is_the_default() -> None:
    chain = anchor_module._public_chain(-239)
    assert isinstance(chain, ToncenterClient)
    assert chain.network == -239
    await chain.aclose()


@pytest.mark.parametrize(("status", "holds"), [("active", False), ("frozen", True)])
async def test_only_a_live_account_that_holds_something_is_an_anchor(
    status: Any, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted, registry = accepted()
    chain = FakeChainClient()
    data = anchor_data(registry.seen) if holds else None

    async def get_account(address: Address) -> AccountState:
        return AccountState(address, 0, status, None, data, 0, 1, NOW)

    monkeypatch.setattr(chain, "get_account", get_account)
    assert trusted.root is not None
    with pytest.raises(RegistryFormatError, match=status):
        await read_anchor(chain, trusted.root)  # type: ignore[arg-type] # as much of one as needed


async def test_a_warning_is_given_even_of_what_was_confirmed_before() -> None:
    """Only `require` may lean on the past: it would refuse otherwise."""
    trusted, registry = accepted()
    for policy, told in (("warn", True), ("require", False)):
        chain = FakeChainClient(registry.seen)
        check = check_of(policy, chain)
        await check.is_newer(trusted.root, registry)
        check.judge(registry)
        chain.down = True
        await check.is_newer(trusted.root, registry)
        check.judge(registry)
        assert (check.problem is not None) == told

"""A chain that holds one anchor account: as much of a `ChainClient` as the registry asks for."""

from __future__ import annotations

from registry_world import HASH, NOW

from cocoon_sdk.errors import ChainUnavailableError
from cocoon_sdk.registry.verify import Seen
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, cell_to_boc
from cocoon_sdk.ton.chain import AccountState

CONTRACT = f"0:{HASH}"


def anchor_data(seen: Seen) -> bytes:
    cell = Builder().store_uint(seen.version, 64).store_uint(seen.root_version, 32)
    return cell_to_boc(cell.store_bytes(seen.digest).end_cell())


class FakeChainClient:
    """A chain that holds one anchor account; not a network."""

    def __init__(self, seen: Seen | None = None, network: int = -217) -> None:
        self.network = network
        self.data = None if seen is None else anchor_data(seen)
        self.down = False
        self.closed = False
        self.asked: list[Address] = []

    async def get_account(self, address: Address) -> AccountState:
        self.asked.append(address)
        if self.down:
            raise ChainUnavailableError("the chain is down")
        status = "uninit" if self.data is None else "active"
        return AccountState(address, 0, status, None, self.data, 0, 1, NOW)

    async def aclose(self) -> None:
        self.closed = True

"""The payment channel as cells: initial state, message bodies, signed promises, stored data.

Layouts, opcodes and error codes are those of channel.tolk (payments.md §1); a test runs both on the
real executor. Addresses are derived from the terms and the committed code, so that nothing a peer
says about a channel has to be believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from cocoon_sdk.errors import ChainDataError, ConfigError
from cocoon_sdk.keys import DOMAIN_CHANNEL, PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from cocoon_sdk.ton.address import Address
from cocoon_sdk.ton.cells import Builder, Cell, Slice, cell_from_boc
from cocoon_sdk.ton.contract.constants import (
    ATTACHED,
    CLOSE_AUTH_TAG,
    MAX_CLOSE_DELAY,
    MIN_OPENING,
    RENT_RESERVE,
    VOUCHER_TAG,
    ContractError,
    Op,
)

__all__ = [
    "ATTACHED",
    "MIN_OPENING",
    "RENT_RESERVE",
    "MAX_CLOSE_DELAY",
    "CODE_HASH",
    "ChannelData",
    "ChannelTerms",
    "ContractError",
    "Op",
    "cancel_close_body",
    "channel_address",
    "close_auth_cell",
    "code_cell",
    "coop_close_body",
    "data_cell",
    "deposit_body",
    "finalize_body",
    "parse_channel_data",
    "provider_close_body",
    "redeem_body",
    "request_close_body",
    "signing_input",
    "state_init",
    "voucher_cell",
]


@dataclass(frozen=True, slots=True)
class ChannelTerms:
    """What the parties agree on for good.

    Attributes:
        client_key: the client's voucher key (Ed25519, 32 bytes), made for this channel only.
        provider_key: the provider's identity key.
        close_delay: seconds between request_close and finalize.
        salt: random, so that one client can have several channels with one provider.
    """

    client_key: bytes
    provider_key: bytes
    close_delay: int
    salt: int

    def __post_init__(self) -> None:
        if len(self.client_key) != PUBLIC_KEY_BYTES or len(self.provider_key) != PUBLIC_KEY_BYTES:
            raise ConfigError(f"a channel key is {PUBLIC_KEY_BYTES} bytes")
        if not (0 <= self.close_delay < 1 << 32 and 0 <= self.salt < 1 << 64):
            raise ConfigError("close_delay is a number of 32 bits, salt one of 64")


@dataclass(frozen=True, slots=True)
class ChannelData:
    """The stored state of a channel. The amount held is the account's balance, not in here.

    Attributes:
        epoch: logical time of the opening transaction; 0 before it. Vouchers name it.
        close_at: Unix seconds from which finalize works; 0 unless the client asked to close.
        redeemed: nano paid to the provider in this epoch.
    """

    epoch: int
    close_at: int
    redeemed: int
    client: Address
    provider: Address
    terms: ChannelTerms


@cache
def code_cell() -> Cell:
    """The contract's code, as committed with this package."""
    return cell_from_boc(files(__package__).joinpath("channel.boc").read_bytes())


CODE_HASH = bytes.fromhex(files(__package__).joinpath("channel.hash").read_text("ascii").strip())
"""The hash of the contract's code cell; an account with another one is not a channel of ours."""


def data_cell(data: ChannelData) -> Cell:
    """The data cell that stores `data`."""
    terms = (
        Builder()
        .store_bytes(data.terms.client_key)
        .store_bytes(data.terms.provider_key)
        .store_uint(data.terms.close_delay, 32)
        .store_uint(data.terms.salt, 64)
        .end_cell()
    )
    return (
        Builder()
        .store_uint(data.epoch, 64)
        .store_uint(data.close_at, 32)
        .store_coins(data.redeemed)
        .store_address(data.client)
        .store_address(data.provider)
        .store_ref(terms)
        .end_cell()
    )


def state_init(terms: ChannelTerms, client: Address, provider: Address) -> Cell:
    """The StateInit that deploys the channel, unopened: epoch, close_at and redeemed are zero.

    Raises:
        ConfigError: an address outside workchain 0.
    """
    if client.workchain != 0 or provider.workchain != 0:
        raise ConfigError("both parties of a channel need a wallet in workchain 0")
    data = data_cell(ChannelData(0, 0, 0, client, provider, terms))
    # no split depth, no tick-tock; code, data; no libraries
    return Builder().store_uint(0b00110, 5).store_ref(code_cell()).store_ref(data).end_cell()


def channel_address(terms: ChannelTerms, client: Address, provider: Address) -> Address:
    """Where the channel with these terms lives, in workchain 0, opened or not."""
    return Address(0, state_init(terms, client, provider).hash)


def parse_channel_data(boc: bytes) -> ChannelData:
    """Read a channel's data cell, as a chain API returned it.

    Raises:
        ChainDataError: it does not have the layout of a channel.
    """
    s = cell_from_boc(boc).begin_parse()
    epoch, close_at, redeemed = s.load_uint(64), s.load_uint(32), s.load_coins()
    client, provider = _party(s), _party(s)
    inner = s.load_ref().begin_parse()
    s.end()
    terms = ChannelTerms(
        client_key=inner.load_bytes(PUBLIC_KEY_BYTES),
        provider_key=inner.load_bytes(PUBLIC_KEY_BYTES),
        close_delay=inner.load_uint(32),
        salt=inner.load_uint(64),
    )
    inner.end()
    return ChannelData(epoch, close_at, redeemed, client, provider, terms)


def _party(s: Slice) -> Address:
    address = s.load_address()
    if address is None:
        raise ChainDataError("a channel without a client or provider address")
    return address


def voucher_cell(network: int, channel: Address, epoch: int, cumulative: int) -> Cell:
    """The client's promise: up to `cumulative` nano in total, in this epoch of this channel."""
    return _promise_cell(VOUCHER_TAG, network, channel, epoch, cumulative)


def close_auth_cell(network: int, channel: Address, epoch: int, final: int) -> Cell:
    """The provider's consent to close with `final` nano as its total."""
    return _promise_cell(CLOSE_AUTH_TAG, network, channel, epoch, final)


def _promise_cell(tag: int, network: int, channel: Address, epoch: int, amount: int) -> Cell:
    return (
        Builder()
        .store_uint(tag, 32)
        .store_int(network, 32)
        .store_address(channel)
        .store_uint(epoch, 64)
        .store_coins(amount)
        .end_cell()
    )


def signing_input(cell: Cell) -> bytes:
    """The 49 bytes that are signed for a voucher or close-auth cell."""
    return DOMAIN_CHANNEL + cell.hash


def deposit_body(query_id: int = 0) -> Cell:
    """Open (from the client, with the StateInit and at least MIN_OPENING) or top up (from anyone)."""
    return _body(Op.DEPOSIT, query_id).end_cell()


def redeem_body(query_id: int, claim: int, signature: bytes, voucher: Cell) -> Cell:
    """Pay `claim` in total to the provider; a sender other than it must claim the full voucher."""
    body = _body(Op.REDEEM, query_id).store_coins(claim)
    return _signed(body, signature, voucher).end_cell()


def request_close_body(query_id: int = 0) -> Cell:
    """From the client: start the close delay."""
    return _body(Op.REQUEST_CLOSE, query_id).end_cell()


def cancel_close_body(query_id: int = 0) -> Cell:
    """From the client: take request_close back."""
    return _body(Op.CANCEL_CLOSE, query_id).end_cell()


def finalize_body(query_id: int = 0) -> Cell:
    """From anyone, after the delay: everything left goes to the client, the contract is destroyed."""
    return _body(Op.FINALIZE, query_id).end_cell()


def provider_close_body(
    query_id: int, claim: int, signature: bytes | None = None, voucher: Cell | None = None
) -> Cell:
    """From the provider: take `claim` in total, give the rest back. No voucher: claim = redeemed."""
    body = _body(Op.PROVIDER_CLOSE, query_id).store_coins(claim)
    if signature is None and voucher is None:
        return body.store_bool(value=False).end_cell()
    if signature is None or voucher is None:
        raise ConfigError("a voucher and its signature go together")
    return _signed(body.store_bool(value=True), signature, voucher).end_cell()


def coop_close_body(query_id: int, signature: bytes, auth: Cell) -> Cell:
    """From the client with the provider's signature: pay `final` in total and close at once."""
    return _signed(_body(Op.COOP_CLOSE, query_id), signature, auth).end_cell()


def _body(op: Op, query_id: int) -> Builder:
    return Builder().store_uint(op, 32).store_uint(query_id, 64)


def _signed(body: Builder, signature: bytes, promise: Cell) -> Builder:
    if len(signature) != SIGNATURE_BYTES:
        raise ConfigError(f"a signature is {SIGNATURE_BYTES} bytes, got {len(signature)}")
    return body.store_bytes(signature).store_ref(promise)

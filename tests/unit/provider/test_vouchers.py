"""Taking a voucher: the order of its checks, and that only the highest is kept."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from cocoon_provider.book import ChannelBook
from cocoon_provider.refusals import Refusal
from cocoon_provider.tables import AUTHORISED, DRAINING, channels, locked_channel
from cocoon_provider.vouchers import check_signature, store_voucher
from cocoon_sdk.errors import WireCode
from cocoon_sdk.protocol import messages
from cocoon_sdk.ton.chain import DEVNET_NETWORK
from tests.unit.provider.books import ADDRESS, CLIENT, EPOCH, FUNDS, KEY, NOW, voucher


def store(connection: Connection, paid: messages.Voucher | None) -> int:
    return store_voucher(connection, KEY, locked_channel(connection, KEY), paid)


def test_only_the_highest_is_kept_with_its_signature(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        assert store(connection, None) == 0
        assert [store(connection, voucher(n)) for n in (500, 400, 500, 501)] == [500, 500, 500, 501]
        row = locked_channel(connection, KEY)
        assert (row["signed"], row["signature"]) == (501, voucher(501).signature)

    book.database.run_sync(work)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"close_at": NOW}, WireCode.CHANNEL_CLOSING),
        ({"gone": 1}, WireCode.CHANNEL_CLOSING),
        ({"closing": AUTHORISED}, WireCode.CHANNEL_CLOSING),
        ({"balance": 0}, WireCode.INSUFFICIENT_FUNDS),
    ],
)
def test_a_higher_one_meets_the_state_of_the_channel_and_a_known_one_does_not(
    book: ChannelBook, state: dict[str, int], code: WireCode
) -> None:
    def work(connection: Connection) -> None:
        store(connection, voucher(500))
        connection.execute(channels.update().values(state))
        assert store(connection, voucher(500)) == 500
        with pytest.raises(Refusal) as caught:
            store(connection, voucher(501))
        assert caught.value.code is code
        with pytest.raises(Refusal) as caught:  # however low, of another life it is void
            store(connection, voucher(1, epoch=EPOCH + 1))
        assert caught.value.code is WireCode.EPOCH_MISMATCH

    book.database.run_sync(work)


def test_a_draining_channel_still_takes_them(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        connection.execute(channels.update().values(closing=DRAINING))
        assert store(connection, voucher(500)) == 500

    book.database.run_sync(work)


def test_the_shortfall_says_what_would_do(book: ChannelBook) -> None:
    def work(connection: Connection) -> None:
        store(connection, voucher(500))
        with pytest.raises(Refusal) as caught:
            store(connection, voucher(FUNDS))
        detail = caught.value.detail
        assert (detail["required"], detail["accepted"]) == (FUNDS, 500)
        assert store(connection, voucher(detail["available"])) == detail["available"]

    book.database.run_sync(work)


def test_the_signature_is_over_this_network_and_channel() -> None:
    good = voucher(500)
    key = CLIENT.public_key
    check_signature(good, network=DEVNET_NETWORK, address=ADDRESS.raw, client_key=key)
    for network, address, owner in (
        (-239, ADDRESS.raw, key),
        (DEVNET_NETWORK, "0:" + "04" * 32, key),
        (DEVNET_NETWORK, ADDRESS.raw, b"\x07" * 32),
    ):
        with pytest.raises(Refusal) as caught:
            check_signature(good, network=network, address=address, client_key=owner)
        assert caught.value.code is WireCode.VOUCHER_REJECTED

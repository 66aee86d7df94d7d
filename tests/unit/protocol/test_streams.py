from __future__ import annotations

import pytest

from cocoon_sdk.protocol import streams
from cocoon_sdk.protocol.constants import CLOSE_TOO_LARGE, MAX_STREAMS
from cocoon_sdk.protocol.errors import LocalProtocolError, RemoteProtocolError
from cocoon_sdk.protocol.frames import (
    CLIENT_ENDS,
    CLIENT_FRAMES,
    CONNECTION_FRAMES,
    FLAG_END,
    FLAG_MORE,
    SERVER_ENDS,
    SERVER_FRAMES,
    SERVER_LAST,
    body_limits,
)
from cocoon_sdk.protocol.messages import FrameType as F
from cocoon_sdk.protocol.streams import StreamTable

LIMITS = body_limits(1000)


def client_table() -> StreamTable:
    return StreamTable(is_client=True, limits=LIMITS)


def server_table(opener: F | None = F.REQUEST) -> StreamTable:
    """The server's table after the client opened stream 1."""
    table = StreamTable(is_client=False, limits=LIMITS)
    if opener is not None:
        table.receive(1, opener, 0, b"x")
    return table


def send(table: StreamTable, stream: int, kind: F, *, end: bool = False) -> None:
    table.check_send(stream, kind, {F.RECEIPT: 352}.get(kind, 1), end=end)
    table.sent(stream, kind, end=end)


@pytest.mark.parametrize("opener", list(CLIENT_FRAMES))
@pytest.mark.parametrize("kind", list(F))
def test_who_may_send_what_on_which_stream(opener: F, kind: F) -> None:
    """Both sides apply the same table: what one may send, the other takes, and nothing else."""
    client, server = client_table(), server_table(opener)
    stream = client.reserve()
    send(client, stream, opener)
    for sender, receiver, allowed in (
        (client, server, CLIENT_FRAMES[opener]),
        (server, client, SERVER_FRAMES[opener]),
    ):
        if kind in allowed:
            end = sender is server and kind in SERVER_LAST
            send(sender, stream, kind, end=end)
            assert receiver.receive(stream, kind, FLAG_END * end, b"x") == b"x"
        else:
            with pytest.raises(LocalProtocolError, match=kind.name):
                send(sender, stream, kind)
            with pytest.raises(RemoteProtocolError, match=kind.name):
                receiver.receive(stream, kind, 0, b"x")


@pytest.mark.parametrize("kind", list(F))
def test_which_frames_may_end_a_stream(kind: F) -> None:
    for opener in CLIENT_FRAMES:
        if kind in CLIENT_FRAMES[opener]:
            table = server_table(opener)
            if kind in CLIENT_ENDS:
                assert table.receive(1, kind, FLAG_END, b"") == b""
                assert table.unended == ()
            else:
                with pytest.raises(RemoteProtocolError, match="cannot end"):
                    table.receive(1, kind, FLAG_END, b"")
        if kind in SERVER_FRAMES[opener]:
            table = server_table(opener)
            if kind in SERVER_ENDS:
                send(table, 1, kind, end=True)
            else:
                with pytest.raises(LocalProtocolError, match="cannot end"):
                    send(table, 1, kind, end=True)


@pytest.mark.parametrize(
    ("opener", "kind"),
    [
        (F.REQUEST, F.RECEIPT),
        (F.RECEIPT_GET, F.RECEIPT),
        (F.STATE_GET, F.STATE),
        (F.CLOSE_REQUEST, F.CLOSE_AUTH),
    ],
)
def test_what_is_always_the_providers_last(opener: F, kind: F) -> None:
    server, client = server_table(opener), client_table()
    send(client, client.reserve(), opener)
    with pytest.raises(LocalProtocolError, match=f"{kind.name} without END on stream 1"):
        send(server, 1, kind)
    with pytest.raises(RemoteProtocolError, match=f"{kind.name} without END on stream 1"):
        client.receive(1, kind, 0, b"x")


def test_after_an_error_only_the_receipt_of_what_was_billed() -> None:
    server, client = server_table(), client_table()
    send(client, client.reserve(), F.REQUEST)
    send(server, 1, F.ERROR)
    assert client.receive(1, F.ERROR, 0, b"x") == b"x"
    for kind in (F.DELTA, F.METER, F.ERROR, F.RESULT, F.QUEUE):
        with pytest.raises(LocalProtocolError, match=f"{kind.name} after the ERROR of stream 1"):
            send(server, 1, kind)
        with pytest.raises(RemoteProtocolError, match=f"{kind.name} after the ERROR of stream 1"):
            client.receive(1, kind, 0, b"x")
    send(client, 1, F.VOUCHER)  # the other side is as free as before
    assert server.receive(1, F.VOUCHER, 0, b"x") == b"x"
    send(server, 1, F.RECEIPT, end=True)
    assert client.receive(1, F.RECEIPT, FLAG_END, b"x") == b"x"


def test_an_error_of_the_client_or_of_the_connection_silences_nobody() -> None:
    server, client = server_table(), client_table()
    send(client, client.reserve(), F.REQUEST)
    send(client, 1, F.ERROR)
    assert server.receive(1, F.ERROR, 0, b"x") == b"x"
    send(server, 0, F.ERROR)
    assert client.receive(0, F.ERROR, 0, b"x") == b"x"
    send(server, 1, F.DELTA)
    assert client.receive(1, F.DELTA, 0, b"x") == b"x"


def test_text_never_ends_an_answer() -> None:
    assert not SERVER_ENDS & {F.DELTA, F.RESULT, F.METER, F.QUEUE}
    assert F.VOUCHER not in CLIENT_ENDS


@pytest.mark.parametrize("kind", list(F))
def test_stream_zero(kind: F) -> None:
    table = server_table(None)
    if kind in CONNECTION_FRAMES:
        assert table.receive(0, kind, 0, b"x") == b"x"
        with pytest.raises(RemoteProtocolError, match="cannot end stream 0"):
            table.receive(0, kind, FLAG_END, b"x")
    else:
        with pytest.raises(RemoteProtocolError, match="on stream 0"):
            table.receive(0, kind, 0, b"x")


@pytest.mark.parametrize("kind", list(F))
def test_only_the_four_questions_open_a_stream(kind: F) -> None:
    table = server_table(None)
    if kind in CLIENT_FRAMES:
        table.receive(5, kind, 0, b"x")
        assert len(table) == 1
        with pytest.raises(RemoteProtocolError, match="ids are odd and increase"):
            table.receive(3, kind, 0, b"x")
        return
    with pytest.raises(RemoteProtocolError, match="not open"):
        table.receive(5, kind, 0, b"x")


@pytest.mark.parametrize("stream", [2, 4, 2**32 - 2])
def test_even_ids(stream: int) -> None:
    with pytest.raises(RemoteProtocolError, match="ids are odd"):
        server_table(None).receive(stream, F.REQUEST, 0, b"x")


def test_an_id_is_never_reused() -> None:
    table = server_table(F.STATE_GET)
    table.receive(1, F.ACK, FLAG_END, b"x")
    send(table, 1, F.STATE, end=True)
    assert len(table) == 0
    with pytest.raises(RemoteProtocolError, match="stream 1 after 1"):
        table.receive(1, F.STATE_GET, 0, b"x")


def test_a_server_cannot_open() -> None:
    with pytest.raises(LocalProtocolError, match="not open"):
        send(server_table(None), 1, F.DELTA)
    with pytest.raises(RemoteProtocolError, match="not open"):
        client_table().receive(1, F.DELTA, 0, b"x")
    with pytest.raises(RemoteProtocolError, match="not open"):
        client_table().receive(2, F.REQUEST, 0, b"x")


def test_nothing_after_the_end() -> None:
    table = server_table()
    table.receive(1, F.CANCEL, FLAG_END, b"")
    with pytest.raises(RemoteProtocolError, match="after the end of stream 1"):
        table.receive(1, F.VOUCHER, 0, b"x")
    send(table, 1, F.DELTA)
    send(table, 1, F.RECEIPT, end=True)
    with pytest.raises(LocalProtocolError, match="not open"):
        send(table, 1, F.DELTA)

    table = server_table()
    send(table, 1, F.RECEIPT, end=True)
    with pytest.raises(LocalProtocolError, match="after the end"):
        send(table, 1, F.DELTA)
    assert table.receive(1, F.ACK, FLAG_END, b"x") == b"x"


def test_eight_open_streams() -> None:
    client, server = client_table(), server_table(None)
    for index in range(MAX_STREAMS):
        stream = client.reserve()
        assert stream == 2 * index + 1
        send(client, stream, F.REQUEST)
        server.receive(stream, F.REQUEST, 0, b"x")
    with pytest.raises(LocalProtocolError, match="8 streams"):
        client.reserve()
    with pytest.raises(RemoteProtocolError, match="more than 8"):
        server.receive(17, F.REQUEST, 0, b"x")
    # One that has ended on both sides makes room; ended on one side it does not.
    send(client, 3, F.CANCEL, end=True)
    with pytest.raises(LocalProtocolError, match="8 streams"):
        client.reserve()
    client.receive(3, F.RECEIPT, FLAG_END, b"x")
    assert client.reserve() == 17


def test_reserving_too_far_ahead_is_caught_on_sending() -> None:
    table = client_table()
    ids = [table.reserve() for _ in range(9)]
    for stream in ids[:8]:
        send(table, stream, F.REQUEST)
    with pytest.raises(LocalProtocolError, match="more than 8"):
        send(table, ids[8], F.REQUEST)


def test_ids_are_reserved_first_and_opened_in_order() -> None:
    table = client_table()
    first, second = table.reserve(), table.reserve()
    with pytest.raises(LocalProtocolError, match="not reserved"):
        send(table, 5, F.REQUEST)
    send(table, second, F.REQUEST)
    with pytest.raises(LocalProtocolError, match="increase"):
        send(table, first, F.REQUEST)


def test_ids_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_MAX_STREAM_ID", 3)
    table = client_table()
    assert [table.reserve(), table.reserve()] == [1, 3]
    with pytest.raises(LocalProtocolError, match="ran out"):
        table.reserve()


def test_unended_names_what_the_peer_left_open() -> None:
    client = client_table()
    for _ in range(2):
        send(client, client.reserve(), F.REQUEST)
    assert client.unended == (1, 3)
    client.receive(1, F.RECEIPT, FLAG_END, b"x")
    assert client.unended == (3,)
    assert server_table().unended == (1,)


def test_bodies_in_parts() -> None:
    table = server_table(None)
    assert table.receive(1, F.REQUEST, FLAG_MORE, b"ab") is None
    assert len(table) == 1
    assert table.receive(3, F.REQUEST, FLAG_MORE, b"xy") is None  # streams may interleave
    assert table.receive(1, F.REQUEST, FLAG_MORE, b"cd") is None
    assert table.receive(3, F.REQUEST, 0, b"z") == b"xyz"
    assert table.receive(1, F.REQUEST, FLAG_END, b"e") == b"abcde"
    assert table.unended == (3,)


def test_parts_that_do_not_fit_together() -> None:
    table = server_table(None)
    table.receive(1, F.REQUEST, FLAG_MORE, b"ab")
    with pytest.raises(RemoteProtocolError, match="VOUCHER inside an unfinished REQUEST"):
        table.receive(1, F.VOUCHER, 0, b"x")
    for flags in (0, FLAG_MORE):
        table = server_table(None)
        table.receive(1, F.REQUEST, FLAG_MORE, b"ab")
        with pytest.raises(RemoteProtocolError, match="empty part"):
            table.receive(1, F.REQUEST, flags, b"")
    with pytest.raises(RemoteProtocolError, match="empty part"):
        server_table(None).receive(1, F.REQUEST, FLAG_MORE, b"")
    with pytest.raises(RemoteProtocolError, match="MORE"):
        server_table(None).receive(1, F.REQUEST, FLAG_MORE | FLAG_END, b"x")
    for kind in (F.VOUCHER, F.PING, F.CLOSE, F.STATE_GET, F.DELTA):
        with pytest.raises(RemoteProtocolError, match="MORE"):
            server_table(None).receive(1, kind, FLAG_MORE, b"x")


def test_a_body_in_parts_has_the_limit_of_a_whole_one() -> None:
    with pytest.raises(RemoteProtocolError, match="above 1000") as caught:
        server_table(None).receive(1, F.REQUEST, 0, bytes(1001))
    assert caught.value.close_code == CLOSE_TOO_LARGE
    table = server_table(None)
    table.receive(1, F.REQUEST, FLAG_MORE, bytes(999))
    table.receive(1, F.REQUEST, FLAG_MORE, bytes(1))
    with pytest.raises(RemoteProtocolError, match="above 1000"):
        table.receive(1, F.REQUEST, FLAG_MORE, bytes(1))


@pytest.mark.parametrize(
    ("kind", "size"), [(F.DELTA, 247), (F.RECEIPT, 351), (F.RECEIPT, 353), (F.RESULT, 2**20 + 1)]
)
def test_our_own_sizes(kind: F, size: int) -> None:
    table = server_table()
    with pytest.raises(LocalProtocolError, match=f"{kind.name} body of {size} bytes"):
        table.check_send(1, kind, size, end=kind is F.RECEIPT)


def test_a_delta_above_a_cell_is_refused() -> None:
    table = client_table()
    send(table, table.reserve(), F.REQUEST)
    assert table.receive(1, F.DELTA, 0, bytes(246)) == bytes(246)
    with pytest.raises(RemoteProtocolError, match="DELTA body above 246"):
        table.receive(1, F.DELTA, 0, bytes(247))

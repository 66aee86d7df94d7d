"""Strict padding: what the wire shows, and when (wire.md, "Padding")."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from wire_pair import Clock, Pair, make_client, make_server, request

from cocoon_sdk.protocol.constants import STRICT_INTERVAL
from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.events import MessageReceived, PeerClosed
from cocoon_sdk.protocol.messages import (
    Ack,
    Cancel,
    Channel,
    Delta,
    Error,
    Ping,
    Receipt,
    State,
    StateGet,
)
from cocoon_sdk.protocol.pacing import Pacer
from cocoon_sdk.protocol.session import ClientSession, ServerSession

RECEIPT = Receipt(bytes(352))
CELL = 256 + 18


def delta(seq: int, text: str = "text") -> Delta:
    return Delta(seq, 0, Channel.CONTENT, text, [seq])


class Paced(Pair):
    """A pair on which time passes tick by tick; `shown` is what an observer sees of each direction."""

    def __init__(self, **options: Any) -> None:
        super().__init__(handshake=False, **({"padding": "strict"} | options))
        self.shown: dict[str, list[tuple[float, int]]] = {"up": [], "down": []}
        self.client.start()
        self.exchange()
        self.run(0.5)  # the first PING and its PONG

    def _carry(self) -> None:
        self.client.pace()
        self.server.pace()
        for way, sender, receiver, events in (
            ("up", self.client, self.server, self.server_events),
            ("down", self.server, self.client, self.client_events),
        ):
            for message in sender.outgoing():
                self.shown[way].append((self.clock.now, len(message)))
                events += receiver.receive(message)

    def run(self, seconds: float) -> None:
        """Let time pass as a driver would: from one `pace_at` to the next."""
        end = self.clock.now + seconds
        while True:
            due = [at for at in (self.client.pace_at, self.server.pace_at) if at is not None]
            if not due or min(due) > end:
                self.clock.now = end
                return
            self.clock.now = max(self.clock.now, *[min(due)])
            self._carry()

    def ask(self, **fields: Any) -> int:
        """A request that has just arrived; what was shown before is forgotten."""
        stream = self.client.open_stream()
        before = self.server.open_streams
        self.client.send(stream, request(**fields))
        while self.server.open_streams == before:
            self.clock.now = max(self.clock.now, self.client.pace_at or 0)
            self._carry()
        self.shown = {"up": [], "down": []}
        return stream

    def messages(self) -> list[Any]:
        return [e.message for e in self.client_events if isinstance(e, MessageReceived)]


def test_cells_come_at_one_rate_whatever_is_said() -> None:
    """Whether the provider is silent, slow or fast, the observer sees the same."""
    seen = []
    for script in ([], [0.3], [0.01] * 20, [0.0] * 30):
        pair = Paced()
        stream = pair.ask()
        for seq, pause in enumerate(script):
            pair.run(pause)
            pair.server.send(stream, delta(seq))
        pair.run(1.5 - sum(script))
        assert pair.messages() == [delta(seq) for seq in range(len(script))]
        start = pair.clock.now - 1.5
        seen.append([(round(at - start, 6), size) for at, size in pair.shown["down"]])
    assert len(seen[0]) == pytest.approx(1.5 / STRICT_INTERVAL, abs=1)
    assert {size for _, size in seen[0]} == {CELL}
    gaps = {round(b[0] - a[0], 6) for a, b in itertools.pairwise(seen[0])}
    assert gaps == {STRICT_INTERVAL}
    assert seen[0] == seen[1] == seen[2] == seen[3]


def test_the_clients_side_keeps_the_rate_too() -> None:
    """Otherwise its vouchers would tell how the answer goes."""
    pair = Paced()
    pair.ask()
    pair.run(1)
    quiet = len(pair.shown["up"])
    assert quiet == pytest.approx(1 / STRICT_INTERVAL, abs=1)
    assert {size for _, size in pair.shown["up"]} == {CELL}
    assert all(not isinstance(e, MessageReceived) for e in pair.server_events[2:])


@pytest.mark.parametrize("said", [0, 1, 10, 60])
def test_short_answers_have_one_length(said: int) -> None:
    pair = Paced()
    stream = pair.ask()
    for seq in range(said):
        pair.server.send(stream, delta(seq))
    assert pair.server.send(stream, RECEIPT, end=True) == 0  # sealed when its time comes
    pair.run(10)
    assert pair.messages()[-1] == RECEIPT
    sizes = [size for _, size in pair.shown["down"]]
    assert sizes[:64] == [CELL] * 63 + [512 + 18]


def test_longer_answers_are_rounded_up() -> None:
    lengths = set()
    for ticks in (64, 70, 78):
        pair = Paced()
        stream = pair.ask()
        pair.run(ticks * STRICT_INTERVAL)
        pair.server.send(stream, RECEIPT, end=True)
        pair.run(10)
        sizes = [size for _, size in pair.shown["down"]]
        lengths.add(sizes.index(512 + 18))
    assert lengths == {79}  # the eightieth


def test_what_still_waits_counts_for_the_length() -> None:
    pair = Paced()
    stream = pair.ask()
    for seq in range(100):
        pair.server.send(stream, delta(seq))
    pair.server.send(stream, RECEIPT, end=True)
    pair.run(10)
    sizes = [size for _, size in pair.shown["down"]]
    assert sizes.index(512 + 18) == 111  # of the steps 96, 112, 128
    assert pair.messages() == [*(delta(seq) for seq in range(100)), RECEIPT]


def test_nothing_goes_while_nothing_is_open() -> None:
    pair = Paced()
    assert pair.client.pace_at is None
    assert pair.server.pace_at is None
    stream = pair.ask()
    pair.server.send(stream, RECEIPT, end=True)
    pair.run(5)
    pair.client.send(stream, Ack(), end=True)
    pair.run(5)
    assert pair.client.open_streams == pair.server.open_streams == 0
    assert pair.client.pace_at is None
    assert pair.server.pace_at is None


def test_each_open_stream_has_its_share() -> None:
    pair = Paced()
    streams = [pair.ask(), pair.ask(id=b"j" * 16), pair.ask(id=b"k" * 16)]
    pair.run(1)
    assert len(pair.shown["down"]) == pytest.approx(3 / STRICT_INTERVAL, abs=3)
    for stream in streams:
        pair.server.send(stream, Error("internal", "no"), end=True)
    pair.run(5)
    assert len([m for m in pair.messages() if isinstance(m, Error)]) == 3


def test_an_answer_that_the_client_ended_first_is_held_as_well() -> None:
    pair = Paced()
    stream = pair.ask()
    pair.client.send(stream, Cancel(), end=True)
    pair.run(0.1)
    pair.server.send(stream, RECEIPT, end=True)
    assert pair.server.open_streams == 0
    pair.run(STRICT_INTERVAL * 50)
    assert pair.messages() == []
    assert {size for _, size in pair.shown["down"]} == {CELL}
    assert len(pair.shown["down"]) == pytest.approx(54, abs=1)  # covered until then
    pair.run(1)
    assert pair.messages() == [RECEIPT]


def test_questions_besides_requests_are_not_rounded() -> None:
    pair = Paced()
    stream = pair.client.open_stream()
    pair.client.send(stream, StateGet(), end=True)
    pair.run(STRICT_INTERVAL)
    answer = State(0, 0, bytes(64), 0, 0)
    assert pair.server.send(stream, answer, end=True) == 1
    pair.run(2 * STRICT_INTERVAL)
    assert pair.messages() == [answer]


def test_a_request_goes_out_in_its_own_buckets_one_a_tick() -> None:
    pair = Paced()
    stream = pair.client.open_stream()
    pair.shown["up"].clear()
    assert pair.client.send(stream, request(body={"text": "x" * 100_000})) == 2
    assert pair.client.outgoing() == []
    pair.run(STRICT_INTERVAL / 2)
    assert [size for _, size in pair.shown["up"]] == [65_536 + 18]
    pair.run(STRICT_INTERVAL)
    assert [size for _, size in pair.shown["up"]] == [65_536 + 18, 65_536 + 18]
    assert isinstance(pair.server_events[-1], MessageReceived)


def test_before_its_time_nothing_leaves() -> None:
    pair = Paced()
    pair.ask()
    at = pair.server.pace_at
    assert at is not None
    pair.clock.now = at - 0.001
    pair.server.pace()
    assert pair.server.outgoing() == []
    pair.clock.now = at
    pair.server.pace()
    assert len(pair.server.outgoing()) == 1
    assert pair.server.pace_at == pytest.approx(at + STRICT_INTERVAL)


def test_what_waits_is_counted_for_whoever_writes() -> None:
    pair = Paced()
    stream = pair.ask()
    assert (pair.client.unpaced, pair.server.unpaced) == (0, 0)
    for seq in range(5):
        pair.server.send(stream, delta(seq))
    assert pair.server.unpaced == 5
    pair.run(2.5 * STRICT_INTERVAL)
    assert 0 < pair.server.unpaced < 5
    pair.run(5 * STRICT_INTERVAL)
    assert pair.server.unpaced == 0
    assert Pair().server.unpaced == 0  # by default records go at once


def test_a_late_tick_is_not_made_up_for() -> None:
    pair = Paced()
    pair.ask()
    at = pair.server.pace_at
    assert at is not None
    pair.clock.now = at + 0.3 * STRICT_INTERVAL  # a little late: the grid stays
    pair.server.pace()
    assert pair.server.pace_at == pytest.approx(at + STRICT_INTERVAL)
    pair.clock.now = at + 100 * STRICT_INTERVAL
    pair.server.pace()
    pair.server.pace()
    assert len(pair.server.outgoing()) == 2
    assert pair.server.pace_at == pytest.approx(pair.clock.now + STRICT_INTERVAL)


def test_close_takes_along_what_waits_in_order() -> None:
    pair = Paced()
    stream = pair.ask()
    pair.server.send(stream, delta(0))
    pair.server.send(stream, RECEIPT, end=True)
    pair.server.close()
    assert pair.server.pace_at is None
    pair.server.pace()
    assert pair.to_client()[-1] == PeerClosed(0)
    assert pair.messages() == [delta(0), RECEIPT]
    pair.client.send(stream, Ack(), end=True)
    pair.client.close()
    assert pair.to_server()[-1] == PeerClosed(0)


def test_a_peer_that_closed_gets_no_covers() -> None:
    pair = Paced()
    stream = pair.ask()
    pair.server.close()
    pair.to_client()
    assert pair.client.pace_at is None
    pair.client.send(stream, Cancel(), end=True)
    pair.run(STRICT_INTERVAL)
    assert pair.client.pace_at is None
    assert isinstance(pair.server_events[-1], MessageReceived)


def test_a_dead_session_paces_nothing() -> None:
    pair = Paced()
    pair.ask()
    with pytest.raises(RemoteProtocolError):
        pair.client.receive(b"\x10")
    assert pair.client.pace_at is None
    pair.client.pace()
    assert pair.client.outgoing() == []


@pytest.mark.parametrize(
    ("client", "server", "paced"),
    [
        ("strict", "default", (True, True)),
        ("default", "strict", (False, True)),
        ("strict", "strict", (True, True)),
        ("default", "default", (False, False)),
        ("off", "off", (False, False)),
    ],
)
def test_the_server_does_as_the_client_asks_or_as_it_is_set(
    client: str, server: str, paced: tuple[bool, bool]
) -> None:
    clock = Clock()
    pair = Paced(
        client=make_client(clock, padding=client), server=make_server(clock, padding=server)
    )
    pair.clock = clock
    pair.run(1)
    stream = pair.client.open_stream()
    pair.client.send(stream, request())
    pair.exchange()
    pair.run(STRICT_INTERVAL)
    assert pair.server.open_streams == 1
    assert (pair.client.pace_at is not None, pair.server.pace_at is not None) == paced


@pytest.mark.parametrize(("client", "server"), [("off", "strict"), ("strict", "off")])
def test_strict_and_off_do_not_meet(client: str, server: str) -> None:
    with pytest.raises(RemoteProtocolError, match="padding is"):
        Pair(client=make_client(padding=client), server=make_server(padding=server))


def test_outside_strict_mode_there_is_nothing_to_pace() -> None:
    pair = Pair()
    pair.open_request()
    for session in (pair.client, pair.server, make_client(padding="strict")):
        assert isinstance(session, ClientSession | ServerSession)
        assert session.pace_at is None
        session.pace()
        assert session.outgoing() == []


def test_pings_wait_for_their_tick() -> None:
    pair = Paced()
    pair.ask()
    pair.client.send(0, Ping(b"12345678"))
    assert pair.client.outgoing() == []
    pair.run(1)
    assert {size for _, size in (*pair.shown["up"], *pair.shown["down"])} == {CELL}


def test_a_pacer_by_itself() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    assert pacer.due(0) is None
    pacer.put(b"a")
    assert pacer.due(0) is not None
    assert pacer.tick(0, lambda: pytest.fail("nothing is open, so nothing is covered")) == [b"a"]
    assert pacer.due(0) is None
    assert pacer.due(1) == clock.now + STRICT_INTERVAL
    assert pacer.tick(2, lambda: pacer.put(b"cover")) == [b"cover", b"cover"]
    pacer.opened(1)
    pacer.opened(1)
    assert pacer.rounds(1)
    assert not pacer.rounds(3)
    pacer.hold(1, lambda: pacer.put(b"last"), 1)
    assert not pacer.rounds(1)
    assert pacer.due(0) is not None
    pacer.put(b"b")
    assert pacer.drain() == [b"b", b"last"]
    assert pacer.drain() == []

"""Any lawful conversation between two sessions arrives as it was sent, whatever is in flight."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from wire_pair import Pair, request

from cocoon_sdk.protocol.events import HandshakeCompleted, MessageReceived
from cocoon_sdk.protocol.messages import (
    Ack,
    Cancel,
    Channel,
    Cover,
    Delta,
    Error,
    Message,
    Meter,
    Ping,
    Receipt,
    Request,
    Result,
    Voucher,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
nano = st.integers(0, 2**63 - 1)
vouchers = st.builds(
    Voucher, st.integers(0, 2**64 - 1), nano, st.binary(min_size=64, max_size=64), nano
)
answers = st.one_of(
    st.builds(
        Delta,
        st.integers(0, 2**32 - 1),
        st.integers(0, 255),
        st.sampled_from(Channel),
        text,
        st.lists(st.integers(0, 255), max_size=15),
    ),
    st.builds(
        Meter,
        *[st.integers(0, 2**32 - 1)] * 3,
        st.binary(min_size=32, max_size=32),
        nano,
        nano,
    ),
    st.builds(
        Result,
        *(st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1), st.integers(2**31, 2**32 - 1)),
        text,
        st.integers(0, 200_000).map(lambda n: b"r" * n),
    ),
)


class Conversation(RuleBasedStateMachine):
    """Both ends act at will; single wire messages are delivered in between, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(padding=self.padding)
        self.wires: dict[str, list[bytes]] = {"up": [], "down": []}
        self.sent: dict[str, list[tuple[int, Message, bool]]] = {"up": [], "down": []}
        self.got: dict[str, list[tuple[int, Message, bool]]] = {"up": [], "down": []}
        self.client_open: set[int] = set()
        self.server_open: set[int] = set()

    padding = "default"

    def send(self, way: str, stream: int, message: Message, *, end: bool = False) -> None:
        session = self.pair.client if way == "up" else self.pair.server
        session.send(stream, message, end=end)
        self.wires[way] += session.outgoing()
        self.sent[way].append((stream, message, end))

    @precondition(lambda self: self.pair.client.open_streams < 8)
    @rule(size=st.sampled_from([0, 500, 1100, 70_000, 200_000]), voucher=st.none() | vouchers)
    def ask(self, size: int, voucher: Voucher | None) -> None:
        stream = self.pair.client.open_stream()
        self.send("up", stream, request(body={"text": "x" * size}, voucher=voucher))
        self.client_open.add(stream)

    @precondition(lambda self: self.client_open)
    @rule(data=st.data(), voucher=vouchers)
    def pay(self, data: Any, voucher: Voucher) -> None:
        self.send("up", data.draw(st.sampled_from(sorted(self.client_open))), voucher)

    @precondition(lambda self: self.client_open)
    @rule(data=st.data(), message=st.sampled_from([Ack(), Cancel(), Error("timeout", "gave up")]))
    def finish(self, data: Any, message: Message) -> None:
        stream = data.draw(st.sampled_from(sorted(self.client_open)))
        self.send("up", stream, message, end=True)
        self.client_open.remove(stream)

    @precondition(lambda self: self.server_open)
    @rule(data=st.data(), message=answers)
    def answer(self, data: Any, message: Message) -> None:
        self.send("down", data.draw(st.sampled_from(sorted(self.server_open))), message)

    @precondition(lambda self: self.server_open)
    @rule(
        data=st.data(),
        message=st.sampled_from([Receipt(b"r" * 352), Error("internal", "x" * 30_000)]),
    )
    def settle(self, data: Any, message: Message) -> None:
        stream = data.draw(st.sampled_from(sorted(self.server_open)))
        self.send("down", stream, message, end=True)
        self.server_open.remove(stream)

    @precondition(lambda self: max(map(len, self.wires.values())) < 20)
    @rule(way=st.sampled_from(["up", "down"]))
    def keep_busy(self, way: str) -> None:
        """PING and COVER are the sessions' own affair: no event comes of them."""
        self.pair.clock.now += 5
        session = self.pair.client if way == "up" else self.pair.server
        session.send(0, Ping(b"12345678"))
        session.send(0, Cover())
        self.wires[way] += session.outgoing()

    @rule(way=st.sampled_from(["up", "down"]), count=st.integers(1, 5))
    def deliver(self, way: str, count: int) -> None:
        receiver = self.pair.server if way == "up" else self.pair.client
        for message in self.wires[way][:count]:
            for event in receiver.receive(message):
                assert isinstance(event, MessageReceived)
                self.got[way].append((event.stream, event.message, event.end))
                if isinstance(event.message, Request):
                    self.server_open.add(event.stream)
        del self.wires[way][:count]
        self.wires["down" if way == "up" else "up"] += receiver.outgoing()

    @invariant()
    def arrives_as_sent(self) -> None:
        for way in ("up", "down"):
            assert self.got[way] == self.sent[way][: len(self.got[way])]

    def teardown(self) -> None:
        while self.wires["up"] or self.wires["down"]:
            self.deliver("up", 1000)
            self.deliver("down", 1000)
        assert self.got == self.sent
        assert isinstance(self.pair.client_events[0], HandshakeCompleted)


class UnpaddedConversation(Conversation):
    padding = "off"


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestUnpaddedConversation = UnpaddedConversation.TestCase
TestUnpaddedConversation.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)

"""Attacks on the handshake (threats.md, "Adversarial cases"): the network, a false provider, a false client."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from nacl import bindings as sodium
from wire_pair import (
    OTHER_PROVIDER,
    PROVIDER,
    VOUCHER_KEY,
    Pair,
    Seeded,
    make_client,
    make_server,
)

from cocoon_sdk.keys import DOMAIN_CLIENT_AUTH, Ed25519Key
from cocoon_sdk.protocol.constants import (
    CLOSE_CLIENT_AUTH,
    CLOSE_PROTOCOL,
    CLOSE_TOO_LARGE,
    CLOSE_VERSION,
)
from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.events import HandshakeCompleted
from cocoon_sdk.protocol.handshake import ClientHandshake, ServerHandshake
from cocoon_sdk.protocol.hello import ServerHello
from cocoon_sdk.protocol.kem import encapsulate
from cocoon_sdk.protocol.params import ChannelId, ClientParams
from cocoon_sdk.protocol.session import ClientSession, ServerSession
from cocoon_sdk.protocol.tlv import encode_tlv

FLIPS = (0x01, 0x80, 0xFF)
P = 2**255 - 19


def flipped(message: bytes, index: int, mask: int) -> bytes:
    return message[:index] + bytes([message[index] ^ mask]) + message[index + 1 :]


def refused(session: ClientSession | ServerSession, message: bytes, code: int | None = None) -> str:
    """The session refuses the message, dies, and lets nothing out."""
    with pytest.raises(RemoteProtocolError) as caught:
        session.receive(message)
    assert code is None or caught.value.close_code == code
    assert session.outgoing() == []
    assert not session.ready
    with pytest.raises(RemoteProtocolError, match="over"):
        session.receive(message)
    return str(caught.value)


def hello_of(client: ClientSession) -> bytes:
    client.start()
    [message] = client.outgoing()
    return message


def answer(server: ServerSession, message: bytes) -> bytes:
    assert server.receive(message) == []
    [reply] = server.outgoing()
    return reply


def client_auth(client: ClientSession, message: bytes) -> bytes:
    [event] = client.receive(message)
    assert isinstance(event, HandshakeCompleted)
    [reply] = client.outgoing()
    return reply


class TestEveryByteFlipped:
    def test_client_hello(self) -> None:
        """The server refuses it, or its answer no longer fits what the client sent."""
        length = len(hello_of(make_client()))
        answered = 0
        for index in range(length):
            for mask in FLIPS:
                client, server = make_client(), make_server()
                message = flipped(hello_of(client), index, mask)
                try:
                    server.receive(message)
                except RemoteProtocolError:
                    assert server.outgoing() == []
                    continue
                answered += 1
                [reply] = server.outgoing()
                refused(client, reply)
        assert answered > 0

    def test_server_hello(self) -> None:
        reply = answer(make_server(), hello_of(make_client()))
        for index in range(len(reply)):
            for mask in FLIPS:
                client = make_client()
                hello_of(client)
                refused(client, flipped(reply, index, mask))

    def test_client_auth(self) -> None:
        client, server = make_client(), make_server()
        message = client_auth(client, answer(server, hello_of(client)))
        for index in range(len(message)):
            for mask in FLIPS:
                server = make_server()
                answer(server, hello_of(make_client()))
                refused(server, flipped(message, index, mask))
        server = make_server()
        answer(server, hello_of(make_client()))
        assert len(server.receive(message)) == 1  # unharmed it is taken


class TestHybridSuite:
    """Suite 2 under the attacks on suite 1, and on what it adds."""

    KEY = slice(118, 118 + 1184)  # behind the header of the extension
    CIPHERTEXT = slice(42, 42 + 1088)

    @staticmethod
    def client(**options: Any) -> ClientSession:
        return make_client(**{"suites": (1, 2)} | options)

    def test_both_agree_and_it_matters(self) -> None:
        pair = Pair(client=self.client())
        assert pair.client.suite == pair.server.suite == 2
        assert pair.client.exporter == pair.server.exporter
        assert pair.client_events == pair.server_events
        assert pair.client.bytes_sent == 114 + 4 + 1184 + 273 + 298
        pair.open_request()
        # The same X25519 keys with another encapsulation are another session.
        assert Pair(client=self.client()).client.session_id != pair.client.session_id

    def test_the_ml_kem_secret_is_part_of_the_keys(self) -> None:
        def fixed(shared: bytes) -> ServerSession:
            genuine = encapsulate(self.client_key())
            return make_server(encapsulate=lambda _: (shared, genuine[1]))

        client = self.client()
        refused(client, answer(fixed(bytes(32)), hello_of(client)))

    def client_key(self) -> bytes:
        return hello_of(self.client())[self.KEY]

    def test_every_byte_of_client_hello_flipped(self) -> None:
        for index in range(len(hello_of(self.client()))):
            client, server = self.client(), make_server()
            try:
                server.receive(flipped(hello_of(client), index, 0x80 if index % 2 else 0x01))
            except RemoteProtocolError:
                assert server.outgoing() == []
                continue
            [reply] = server.outgoing()
            refused(client, reply)

    def test_every_byte_of_server_hello_flipped(self) -> None:
        reply = answer(make_server(), hello_of(self.client()))
        for index in range(len(reply)):
            client = self.client()
            hello_of(client)
            refused(client, flipped(reply, index, 0x80 if index % 2 else 0x01))

    def test_suite_2_stripped_in_transit(self) -> None:
        """The server then answers in suite 1, honestly signed over what it saw."""
        client = self.client()
        hello = hello_of(client)
        stripped = hello[:4] + b"\1\0\0\0" + hello[8:]
        assert "suite 1, not 2" in refused(client, answer(make_server(), stripped))

    def test_the_key_stripped_in_transit(self) -> None:
        hello = hello_of(self.client())
        assert "without an ML-KEM key" in refused(make_server(), hello[:112] + bytes(2))

    def test_a_provider_that_picks_less_than_its_descriptor_lists(self) -> None:
        """As after a restart without the extra: the client does not follow it down."""
        client = self.client()
        reply = answer(make_server(suites=(1,)), hello_of(client))
        assert "suite 1, not 2" in refused(client, reply)

    def test_the_server_picks_the_strongest_that_is_offered(self) -> None:
        assert Pair(client=make_client(suites=(2,))).server.suite == 2
        assert Pair(client=make_client(suites=(1,))).server.suite == 1
        refused(make_server(suites=(1,)), hello_of(make_client(suites=(2,))), CLOSE_VERSION)
        refused(make_server(suites=(2,)), hello_of(make_client(suites=(1,))), CLOSE_VERSION)

    @pytest.mark.parametrize("size", [0, 1183, 1185])
    def test_keys_of_another_size(self, size: int) -> None:
        hello = hello_of(self.client())
        extension = encode_tlv({1: bytes(size)})
        message = hello[:112] + struct.pack("<H", len(extension)) + extension
        assert f"ML-KEM key of {size} bytes" in refused(make_server(), message, CLOSE_PROTOCOL)

    def test_a_key_with_numbers_out_of_range(self) -> None:
        hello = hello_of(self.client())
        message = hello[:118] + b"\xff" * 1184
        assert "not valid" in refused(make_server(), message, CLOSE_PROTOCOL)

    def test_a_server_of_suite_1_does_not_look_at_the_key(self) -> None:
        """To it the extension is one that it does not know."""
        hello = hello_of(make_client(suites=(1,)))
        extension = encode_tlv({1: b"anything"})
        message = hello[:112] + struct.pack("<H", len(extension)) + extension
        answer(make_server(), message)

    @pytest.mark.parametrize("ciphertext", [None, b"", bytes(1087), bytes(1089)])
    def test_ciphertexts_missing_or_of_another_size(self, ciphertext: bytes | None) -> None:
        client = self.client()
        server = make_server(encapsulate=lambda _: (bytes(32), ciphertext))
        assert "ML-KEM ciphertext" in refused(client, answer(server, hello_of(client)))

    def test_a_ciphertext_for_somebody_else(self) -> None:
        other = hello_of(self.client(seed="another"))[self.KEY]
        client = self.client()
        server = make_server(encapsulate=lambda _: encapsulate(other))
        assert "not authentic" in refused(client, answer(server, hello_of(client)))

    def test_client_auth_of_another_handshake(self) -> None:
        client = self.client()
        message = client_auth(client, answer(make_server(), hello_of(client)))
        again = make_server()
        answer(again, hello_of(self.client()))
        refused(again, message, CLOSE_CLIENT_AUTH)  # the encapsulation is another one


class TestSizes:
    @pytest.mark.parametrize("size", [0, 1, 113, 115, 4096, 4097, 100_000])
    def test_client_hello(self, size: int) -> None:
        hello = hello_of(make_client())
        message = (hello + bytes(size))[:size]
        refused(make_server(), message, CLOSE_TOO_LARGE if size > 4096 else CLOSE_PROTOCOL)

    @pytest.mark.parametrize("size", [0, 1, 37, 117, 125, 127, 4097, 100_000])
    def test_server_hello(self, size: int) -> None:
        client = make_client()
        reply = answer(make_server(), hello_of(client))
        refused(client, (reply + bytes(size))[:size])

    @pytest.mark.parametrize("size", [0, 1, 272, 274, 100_000])
    def test_client_auth(self, size: int) -> None:
        client, server = make_client(), make_server()
        message = client_auth(client, answer(server, hello_of(client)))
        refused(server, (message + bytes(size))[:size])

    def test_the_largest_hello_is_taken(self) -> None:
        hello = hello_of(make_client())
        extensions = encode_tlv({0x7777: bytes(4096 - 114 - 4)})
        message = hello[:112] + struct.pack("<H", len(extensions)) + extensions
        assert len(message) == 4096
        answer(make_server(), message)


class TestOrder:
    def test_client_auth_first(self) -> None:
        client, server = make_client(), make_server()
        message = client_auth(client, answer(server, hello_of(client)))
        refused(make_server(), message)

    def test_data_first(self) -> None:
        pair = Pair()
        pair.open_request()
        pair.client.close()
        [record] = pair.client.outgoing()
        refused(make_server(), record)
        server = make_server()
        answer(server, hello_of(make_client()))
        refused(server, record)
        client = make_client()
        hello_of(client)
        refused(client, record)

    def test_a_second_hello(self) -> None:
        client, server = make_client(), make_server()
        hello = hello_of(client)
        reply = answer(server, hello)
        refused(server, hello)
        pair = Pair()
        refused(pair.server, hello)
        client_auth(client, reply)
        refused(client, reply)

    def test_a_hello_of_the_wrong_side(self) -> None:
        hello = hello_of(make_client())
        reply = answer(make_server(), hello)
        refused(make_server(), reply)
        client = make_client()
        refused(client, hello_of(client))

    def test_the_server_speaks_first(self) -> None:
        reply = answer(make_server(), hello_of(make_client()))
        assert "first" in refused(make_client(), reply)

    def test_client_auth_twice(self) -> None:
        client, server = make_client(), make_server()
        message = client_auth(client, answer(server, hello_of(client)))
        server.receive(message)
        refused(server, message)


class TestFalseProvider:
    def test_another_key(self) -> None:
        """Dialled another machine: it says no before it spends a signature."""
        refused(make_server(identity=OTHER_PROVIDER), hello_of(make_client()))

    def test_man_in_the_middle_without_the_identity_key(self) -> None:
        class Impostor:
            public_key = PROVIDER.public_key

            def sign(self, message: bytes) -> bytes:
                return OTHER_PROVIDER.sign(message)

        client = make_client()
        reply = answer(make_server(identity=Impostor()), hello_of(client))
        assert "identity key" in refused(client, reply)

    @pytest.mark.parametrize("domain", [DOMAIN_CLIENT_AUTH, b"cocoon/1 receipt\0", b""])
    def test_a_signature_made_for_something_else(self, domain: bytes) -> None:
        class Confused:
            public_key = PROVIDER.public_key

            def sign(self, message: bytes) -> bytes:
                return PROVIDER.sign(domain + message.partition(b"\0")[2])

        client = make_client()
        reply = answer(make_server(identity=Confused()), hello_of(client))
        assert "identity key" in refused(client, reply)

    def test_both_legs_with_own_ephemerals(self) -> None:
        """The attacker completes neither leg: it can sign for neither side."""
        client, server = make_client(), make_server()
        hello = hello_of(client)
        own = sodium.crypto_scalarmult_base(b"a" * 32)
        reply = answer(server, hello[:8] + own + hello[40:])
        refused(client, reply)
        client = make_client()
        hello_of(client)
        refused(client, reply[:4] + own + reply[36:])

    def test_relay_to_another_provider(self) -> None:
        """Unknown key share: B passes A the hello that was meant for B."""
        client = make_client(provider_id=OTHER_PROVIDER.public_key)
        hello = hello_of(client)
        assert "another provider" in refused(make_server(), hello)
        rewritten = hello[:40] + PROVIDER.public_key + hello[72:]
        refused(client, answer(make_server(), rewritten))

    def test_an_answer_of_an_earlier_handshake(self) -> None:
        recorded = answer(make_server(), hello_of(make_client(seed="first")))
        client = make_client(seed="second")
        hello_of(client)
        refused(client, recorded)

    @pytest.mark.parametrize("params", [b"\1", b"\1\0\3\0abc", b"\1\0\4\0\xff\3\0\0"])
    def test_malformed_parameters(self, params: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cocoon_sdk.protocol.session.encode_server_params", lambda: params)
        client = make_client()
        refused(client, answer(make_server(), hello_of(client)))


class TestVersionsAndSuites:
    @pytest.mark.parametrize(
        ("low", "high", "code"),
        [(2, 3, CLOSE_VERSION), (0, 0, CLOSE_VERSION), (2, 1, CLOSE_PROTOCOL)],
    )
    def test_version_range_without_ours(self, low: int, high: int, code: int) -> None:
        hello = hello_of(make_client())
        refused(make_server(), hello[:1] + bytes([low, high]) + hello[3:], code)

    def test_a_wider_range_is_served_but_not_forgeable(self) -> None:
        client, server = make_client(), make_server()
        hello = hello_of(client)
        refused(client, answer(server, hello[:1] + bytes([0, 9]) + hello[3:]))

    def test_suites_stripped_or_added_in_transit(self) -> None:
        hello = hello_of(make_client())
        for mask in (0, 2, 0x80000000):
            stripped = hello[:4] + struct.pack("<I", mask) + hello[8:]
            refused(make_server(suites=(1,)), stripped, CLOSE_VERSION)
        client = make_client()
        hello = hello_of(client)
        refused(client, answer(make_server(suites=(1,)), hello[:4] + b"\3\0\0\0" + hello[8:]))

    @pytest.mark.parametrize(
        ("version", "suite", "code"),
        [
            (1, 0, CLOSE_PROTOCOL),
            (1, 2, CLOSE_PROTOCOL),
            (0, 1, CLOSE_VERSION),
            (2, 1, CLOSE_VERSION),
        ],
    )
    def test_the_provider_picks_something_else(
        self, version: int, suite: int, code: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Honestly signed, so only the client's own demand stands against it."""
        genuine = ServerHello.encode_clear

        def other(_version: int, _suite: int, **rest: Any) -> bytes:
            return genuine(version, suite, **rest)

        monkeypatch.setattr(ServerHello, "encode_clear", staticmethod(other))
        client = make_client()
        refused(client, answer(make_server(), hello_of(client)), code)

    def test_unknown_suites_of_the_descriptor_are_left_aside(self) -> None:
        pair = Pair(client=make_client(suites=(1, 31)))
        assert pair.client.suite == 1

    @pytest.mark.parametrize("bit", range(8))
    def test_unknown_flags(self, bit: int) -> None:
        hello = hello_of(make_client())
        assert "flags" in refused(make_server(), hello[:3] + bytes([1 << bit]) + hello[4:])
        client = make_client()
        reply = answer(make_server(), hello_of(client))
        complaint = refused(client, reply[:3] + bytes([1 << bit]) + reply[4:])
        assert ("flags" in complaint) == (bit != 0)


class TestExtensions:
    BAD = (
        b"\1",
        b"\1\0\0",
        b"\1\0\5\0abcd",
        b"\1\0\0\0\1\0\0\0",
        b"\2\0\0\0\1\0\0\0",
    )

    @pytest.mark.parametrize("extensions", BAD)
    def test_malformed_in_client_hello(self, extensions: bytes) -> None:
        hello = hello_of(make_client())[:112] + struct.pack("<H", len(extensions)) + extensions
        assert "TLV" in refused(make_server(), hello)

    @pytest.mark.parametrize("extensions", BAD)
    def test_malformed_in_server_hello(
        self, extensions: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = make_client()
        self.extend_server_hello(extensions, monkeypatch)
        assert "TLV" in refused(client, answer(make_server(), hello_of(client)))

    def test_unknown_ones_are_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.extend_server_hello(encode_tlv({0x4444: b"x" * 100}), monkeypatch)
        pair = Pair()
        assert pair.client.ready
        assert pair.server.ready

    def test_a_length_beyond_the_message(self) -> None:
        hello = hello_of(make_client())
        refused(make_server(), hello[:112] + b"\1\0")
        refused(make_server(), hello + b"\0")
        client = make_client()
        reply = answer(make_server(), hello_of(client))
        assert "cut off" in refused(client, reply[:36] + b"\xff\0" + reply[38:])

    @staticmethod
    def extend_server_hello(extensions: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        genuine = ServerHello.encode_clear

        def longer(*args: Any, **rest: Any) -> bytes:
            clear = genuine(*args, **rest)
            return clear[:36] + struct.pack("<H", len(extensions)) + extensions

        monkeypatch.setattr(ServerHello, "encode_clear", staticmethod(longer))


# Every encoding of a point of order 1, 2, 4 or 8 on the curve or its twist.
SMALL_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
    P,
    P + 1,
]


class TestPoints:
    @pytest.mark.parametrize("high_bit", [0, 1 << 255])
    @pytest.mark.parametrize("u", SMALL_ORDER)
    def test_small_order(self, u: int, high_bit: int) -> None:
        point = (u | high_bit).to_bytes(32, "little")
        client = make_client()
        hello = hello_of(client)
        refused(make_server(), hello[:8] + point + hello[40:])
        reply = answer(make_server(), hello)
        assert "small order" in refused(client, reply[:4] + point + reply[36:])

    @pytest.mark.parametrize("u", [*range(P + 2, 2**255, 3), 9 | 1 << 255])
    def test_other_non_canonical_points_are_accepted(self, u: int) -> None:
        """As RFC 7748 says: reduced modulo p, the top bit ignored."""
        hello = hello_of(make_client())
        point = u.to_bytes(32, "little")
        answer(make_server(), hello[:8] + point + hello[40:])
        canonical = (u % 2**255 % P).to_bytes(32, "little")
        scalar = b"s" * 32
        assert sodium.crypto_scalarmult(scalar, point) == sodium.crypto_scalarmult(
            scalar, canonical
        )


class ForgingClient(ClientHandshake):
    """Completes the handshake honestly, except for what is inside CLIENT_AUTH."""

    inner = b""

    def _auth(self, th2: bytes) -> bytes:
        return self.inner.replace(
            b"SIGNATURE".ljust(64), VOUCHER_KEY.sign(DOMAIN_CLIENT_AUTH + th2)
        )


def inner(
    kind: int = 1,
    key: bytes = VOUCHER_KEY.public_key,
    signature: bytes = b"SIGNATURE".ljust(64),
    params: bytes = b"",
    claim: int | None = None,
    tail: bytes = b"",
) -> bytes:
    size = len(params) if claim is None else claim
    head = bytes([kind]) + key + signature + struct.pack("<H", size) + params
    return head + bytes(256 - len(head) - len(tail)) + tail


class TestFalseClient:
    def attack(self, plaintext: bytes, **options: Any) -> None:
        client = ForgingClient(
            provider_id=PROVIDER.public_key,
            signer=VOUCHER_KEY,
            params=b"",
            random=Seeded("forger"),
        )
        client.inner = plaintext
        server = make_server(**options)
        result = client.finish(answer(server, client.hello))
        refused(server, result.client_auth, CLOSE_CLIENT_AUTH)

    def test_the_forger_would_be_let_in_with_honest_contents(self) -> None:
        with pytest.raises(pytest.fail.Exception):
            self.attack(inner())

    @pytest.mark.parametrize(
        "plaintext",
        [
            inner(kind=2),
            inner(kind=255),
            inner(signature=bytes(64)),
            inner(key=PROVIDER.public_key),
            inner(key=bytes(32)),  # a point of small order
            inner(key=b"\1" + bytes(31)),
            inner(kind=0),  # anonymous, yet with a key
            inner(kind=0, key=bytes(32)),  # anonymous, yet with a signature
            inner(claim=158),
            inner(claim=65_535),
            inner(tail=b"\1"),
            inner(params=b"\1\0\0\0")[:-1] + b"\1",
            inner(params=b"\1"),
            inner(params=b"\1\0\1\0x"),
            inner(params=encode_tlv({3: b"\2"})),
            inner(params=encode_tlv({3: b"\7"})),
            inner(params=encode_tlv({4: bytes(10)})),
            inner(
                kind=0,
                key=bytes(32),
                signature=bytes(64),
                params=ClientParams(ChannelId(0, bytes(32))).encode(),
            ),
        ],
    )
    def test_refused(self, plaintext: bytes) -> None:
        self.attack(plaintext)

    def test_anonymous_where_a_key_is_required(self) -> None:
        self.attack(inner(kind=0, key=bytes(32), signature=bytes(64)), require_auth=True)

    def test_replayed_on_a_second_connection(self) -> None:
        client, server = make_client(), make_server()
        hello = hello_of(client)
        message = client_auth(client, answer(server, hello))
        server.receive(message)
        again = make_server(seed="fresh server ephemeral")
        answer(again, hello)
        refused(again, message, CLOSE_CLIENT_AUTH)

    def test_forwarded_to_another_provider(self) -> None:
        """A dishonest provider B lets in a client and presents its CLIENT_AUTH to A."""
        client = make_client(provider_id=OTHER_PROVIDER.public_key)
        message = client_auth(
            client, answer(make_server(identity=OTHER_PROVIDER), hello_of(client))
        )
        victim = make_server()
        answer(victim, hello_of(make_client(signer=VOUCHER_KEY)))
        refused(victim, message, CLOSE_CLIENT_AUTH)

    def test_a_signature_over_another_transcript(self) -> None:
        """B knows a client's valid signature for B; inside its own handshake with A it is worthless."""
        victims: list[bytes] = []

        class Recording:
            public_key = VOUCHER_KEY.public_key

            def sign(self, message: bytes) -> bytes:
                victims.append(VOUCHER_KEY.sign(message))
                return victims[-1]

        client = make_client(provider_id=OTHER_PROVIDER.public_key, signer=Recording())
        client_auth(client, answer(make_server(identity=OTHER_PROVIDER), hello_of(client)))
        self.attack(inner(signature=victims[0]))


def test_the_servers_signature_is_never_reusable_for_the_client() -> None:
    """Each label starts what it signs, so neither handshake signature passes for the other."""
    signed: list[bytes] = []

    class Recording:
        def __init__(self, key: Ed25519Key) -> None:
            self.public_key = key.public_key
            self._key = key

        def sign(self, message: bytes) -> bytes:
            signed.append(message)
            return self._key.sign(message)

    server = ServerHandshake(
        identity=Recording(PROVIDER), params=b"", random=Seeded("s"), require_auth=False
    )
    client = ClientHandshake(
        provider_id=PROVIDER.public_key,
        signer=Recording(VOUCHER_KEY),
        params=b"",
        random=Seeded("c"),
    )
    reply, pending = server.respond(client.hello)
    pending.finish(client.finish(reply).client_auth)
    assert [message[:-32] for message in signed] == [
        b"cocoon/1 server-auth\0",
        b"cocoon/1 client-auth\0",
    ]

from __future__ import annotations

import pytest
from nacl import bindings as sodium

from cocoon_sdk.protocol import records
from cocoon_sdk.protocol.constants import CLOSE_PROTOCOL, CLOSE_TOO_LARGE, MAX_MESSAGE
from cocoon_sdk.protocol.errors import RemoteProtocolError
from cocoon_sdk.protocol.framing import TAG_MESSAGE, TAG_REKEY
from cocoon_sdk.protocol.padding import BUCKETS
from cocoon_sdk.protocol.records import RecordReader, RecordWriter

KEY = bytes(range(32))


def test_sizes_on_the_wire() -> None:
    writer, reader = RecordWriter(KEY), RecordReader(KEY, padded=True)
    first = writer.seal(bytes(65_536), TAG_MESSAGE)
    assert len(first) == 65_536 + 42 <= MAX_MESSAGE
    assert reader.open(first) == (bytes(65_536), TAG_MESSAGE)
    for size in BUCKETS:
        message = writer.seal(bytes(size), TAG_REKEY)
        assert len(message) == size + 18
        assert reader.open(message) == (bytes(size), TAG_REKEY)
    assert writer.count == reader.count == 1 + len(BUCKETS)


@pytest.mark.parametrize("first", [True, False])
def test_a_size_that_is_no_bucket_is_refused_before_decrypting(
    first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = RecordWriter(KEY), RecordReader(KEY, padded=True)
    extra = 24
    if not first:
        reader.open(writer.seal(bytes(256), 0))
        extra = 0

    def never(*_: object) -> None:
        raise AssertionError("decrypted")

    monkeypatch.setattr(sodium, "crypto_secretstream_xchacha20poly1305_pull", never)
    valid = {size + 18 + extra for size in BUCKETS}
    for length in [*range(1, 2000), *range(65_500, 65_700), 100_000]:
        if length not in valid:
            with pytest.raises(RemoteProtocolError) as caught:
                reader.open(b"\x10" + bytes(length - 1))
            too_large = length > 65_536 + 18 + extra
            assert caught.value.close_code == (CLOSE_TOO_LARGE if too_large else CLOSE_PROTOCOL)


def test_without_padding_any_size_from_an_empty_frame_up() -> None:
    for size in (10, 11, 255, 65_535, 65_536):
        writer, reader = RecordWriter(KEY), RecordReader(KEY, padded=False)
        assert reader.open(writer.seal(bytes(size), 0))[0] == bytes(size)
    for size in (0, 9, 65_537):
        writer, reader = RecordWriter(KEY), RecordReader(KEY, padded=False)
        with pytest.raises(RemoteProtocolError):
            reader.open(writer.seal(bytes(size), 0))


def test_another_type_is_refused() -> None:
    message = RecordWriter(KEY).seal(bytes(256), 0)
    for raw in (b"", b"\1" + message[1:], b"\x11" + message[1:]):
        with pytest.raises(RemoteProtocolError, match="no DATA"):
            RecordReader(KEY, padded=True).open(raw)


def test_the_reader_counts_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORDS", 2)
    writer, reader = RecordWriter(KEY), RecordReader(KEY, padded=True)
    for _ in range(2):
        reader.open(writer.seal(bytes(256), 0))
    with pytest.raises(RemoteProtocolError, match="more than 2 records"):
        reader.open(writer.seal(bytes(256), 0))

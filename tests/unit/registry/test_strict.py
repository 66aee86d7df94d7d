import msgspec
import pytest

from cocoon_sdk.errors import RegistryFormatError
from cocoon_sdk.registry.strict import MAX_DEPTH, decode_strict


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    a: int
    b: object = None


def decode(raw: bytes, limit: int = 10_000_000) -> Thing:
    return decode_strict(raw, Thing, what="the thing", limit=limit)


def test_a_plain_document_is_decoded() -> None:
    assert decode(b'{"a": 1, "b": [{}]}') == Thing(1, [{}])


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": 1, "b": {"c": {"d": 1, "d": 1}}}', "twice"),
        (b'{"a": 1, "\\u0061": 2}', "twice"),
        (b'{"a": 1, "c": 2}', "c"),
        (b'{"a": 1, "b": "\xff"}', "UTF-8"),
        (b'{"a": "1"}', "int"),
        (b'{"a": 1', "parse"),
        (b'{"a": 1} x', "parse"),
        (b'{"a": 1, "b": NaN}', "parse"),
        (b'{"a": 1, "b": ' + b"9" * 5000 + b"}", "parse"),
        (b"", "parse"),
    ],
)
def test_what_means_two_things_or_nothing_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(RegistryFormatError, match=says):
        decode(raw)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth_is_bounded_before_any_parser_recurses(opening: bytes) -> None:
    with pytest.raises(RegistryFormatError, match="deeper"):
        decode(b'{"a": 1, "b": ' + opening * 1_000_000)


def test_depth_at_the_limit_passes() -> None:
    nested = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    assert decode(b'{"a": 1, "b": ' + nested + b"}").a == 1
    with pytest.raises(RegistryFormatError, match="deeper"):
        decode(b'{"a": 1, "b": [' + nested + b"]}")


def test_brackets_and_quotes_inside_strings_do_not_nest() -> None:
    text = msgspec.json.encode('[[{{"\\' * 1000)
    assert decode(b'{"a": 1, "b": ' + text + b"}").a == 1


@pytest.mark.timeout(30)
@pytest.mark.parametrize("tail", [b'\\"', b'"', b"\\\\", b'\\\\\\"'])
def test_an_unclosed_string_takes_linear_time(tail: bytes) -> None:
    """Anyone can send this: it is read before a signature is looked at."""
    with pytest.raises(RegistryFormatError, match="parse"):
        decode(b'{"a": "' + tail * 1_000_000 + b"x")


@pytest.mark.parametrize("text", ["\\", "\\\\", '\\"', '"', '\\\\"', "[", '"['])
def test_escapes_do_not_hide_brackets(text: str) -> None:
    nested = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    with pytest.raises(RegistryFormatError, match="deeper"):
        decode(b'{"a": 1, "b": [' + msgspec.json.encode(text) + b"," + nested + b"]}")
    assert decode(b'{"a": 1, "b": ' + msgspec.json.encode(text + "[" * 20) + b"}").a == 1


def test_the_limit_is_on_bytes() -> None:
    raw = b'{"a": 1}'
    assert decode(raw, len(raw)).a == 1
    with pytest.raises(RegistryFormatError, match="limit is 7"):
        decode(raw, len(raw) - 1)


class Row(msgspec.Struct):
    text: str


@pytest.mark.parametrize(
    "raw",
    [
        b'[{"text":"a"},{"text":"a"},{"text":"a"},{"text":"a"}]',
        b'[{"text":"a","b":1,"c":2,"d":3,"e":4,"f":5}]',
        b'[""' + b' ""' * 12,
    ],
)
def test_values_are_counted_before_anything_is_built(
    raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object, **__: object) -> None:
        pytest.fail("it was parsed")

    assert decode_strict(b'[{"text":"a"}]', list[Row], what="x", limit=1000, values=5)
    monkeypatch.setattr(msgspec.json, "decode", build)
    with pytest.raises(RegistryFormatError, match="more than 5 JSON values"):
        decode_strict(raw, list[Row], what="x", limit=1000, values=5)

import json

import msgspec
import pytest
from registry_world import DAY, NOW, descriptor_of

from cocoon_sdk.errors import (
    CocoonError,
    ConfigError,
    RegistryExpiredError,
    RegistryFormatError,
    RegistryRollbackError,
    RegistrySignatureError,
)
from cocoon_sdk.keys import Ed25519Key
from cocoon_sdk.registry.descriptor import (
    check_descriptor,
    decode_entry,
    encode_entry,
    read_descriptor,
    sign_descriptor,
)
from cocoon_sdk.registry.dsse import pae
from cocoon_sdk.registry.model import PROVIDER_TYPE, Descriptor, Entry, ModelOffer, ModelPrice

KEY = Ed25519Key(b"k" * 32)


def signed_text(text: str, key: Ed25519Key = KEY) -> Entry:
    signature = key.sign(pae(PROVIDER_TYPE, text.encode()))
    return Entry(d=text, s=msgspec.to_builtins(signature))


def changed(**changes: object) -> Entry:
    fields = json.loads(msgspec.json.encode(descriptor_of(KEY)))
    return signed_text(json.dumps(fields | changes))


def test_round_trip_through_the_entry_file() -> None:
    descriptor = descriptor_of(KEY)
    entry = decode_entry(encode_entry(sign_descriptor(KEY, descriptor)))
    assert read_descriptor(entry) == descriptor
    check_descriptor(descriptor, network="devnet/test", now=NOW)
    offer = descriptor.offer("m")
    assert offer is not None
    assert offer.price.completion == 300
    assert descriptor.offer("other") is None


def test_the_id_must_be_the_signer() -> None:
    with pytest.raises(ConfigError):
        sign_descriptor(Ed25519Key(b"o" * 32), descriptor_of(KEY))


def test_a_descriptor_above_the_limit_is_not_signed_and_not_read() -> None:
    big = descriptor_of(KEY, region="x" * 9000)
    with pytest.raises(ConfigError, match="8192"):
        sign_descriptor(KEY, big)
    with pytest.raises(RegistryFormatError, match="8192"):
        read_descriptor(changed(region="x" * 9000))


def test_an_altered_descriptor_is_refused() -> None:
    entry = sign_descriptor(KEY, descriptor_of(KEY))
    altered = Entry(d=entry.d.replace('"prompt":100', '"prompt":999'), s=entry.s)
    assert altered.d != entry.d
    with pytest.raises(RegistrySignatureError):
        read_descriptor(altered)


def test_another_identity_cannot_sign() -> None:
    text = msgspec.json.encode(descriptor_of(KEY)).decode()
    with pytest.raises(RegistrySignatureError):
        read_descriptor(signed_text(text, Ed25519Key(b"o" * 32)))


def test_fields_of_later_versions_are_ignored() -> None:
    assert read_descriptor(changed(novelty={"x": 1})).id == KEY.public_key.hex()


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"id": "AB" * 32},
        {"id": KEY.public_key.hex() + "\n"},
        {"seq": 0},
        {"seq": 1.5},
        {"endpoints": []},
        {"suites": []},
        {"payout": "EQ" + "A" * 46},
        {"min_deposit": -1},
        {"min_deposit": 2**63},
        {"window": 0},
        {"models": []},
        {"issued": NOW, "expires": NOW},
        {"att": "xyz"},
    ],
)
def test_malformed_fields(changes: dict[str, object]) -> None:
    with pytest.raises(RegistryFormatError):
        read_descriptor(changed(**changes))


def test_cached_tokens_never_cost_more_than_prompt_tokens() -> None:
    with pytest.raises(ValueError, match="cached"):
        ModelPrice(prompt=1, cached=2, completion=1)
    models = json.loads(msgspec.json.encode(descriptor_of(KEY)))["models"]
    models[0]["price"]["cached"] = 101
    with pytest.raises(RegistryFormatError, match="cached"):
        read_descriptor(changed(models=models))


def test_a_model_is_offered_once() -> None:
    price = ModelPrice(prompt=1, cached=1, completion=1)
    offer = ModelOffer(
        id="m", hash="0" * 64, ctx=1, price=price, tokenizer="0" * 64, tokens="0" * 64
    )
    with pytest.raises(ValueError, match="twice"):
        descriptor_of(KEY, models=[offer, offer])


@pytest.mark.parametrize(
    ("changes", "arguments", "error"),
    [
        ({}, {"revoked": True}, RegistrySignatureError),
        ({}, {"network": "-239/test"}, RegistryFormatError),
        ({}, {"network": "devnet/other"}, RegistryFormatError),
        ({}, {"now": NOW + 7 * DAY}, RegistryExpiredError),
        ({"issued": NOW + 301}, {}, RegistryExpiredError),
        ({}, {"min_seq": 6}, RegistryRollbackError),
    ],
)
def test_a_genuine_descriptor_may_still_be_unusable(
    changes: dict[str, object], arguments: dict[str, object], error: type[CocoonError]
) -> None:
    defaults: dict[str, object] = {"network": "devnet/test", "now": NOW}
    with pytest.raises(error):
        check_descriptor(descriptor_of(KEY, **changes), **(defaults | arguments))  # type: ignore[arg-type] # table


@pytest.mark.parametrize(
    ("changes", "arguments"),
    [
        ({}, {"now": NOW + 7 * DAY - 1}),
        ({"issued": NOW + 300}, {}),
        ({}, {"min_seq": 5}),
        ({"network": "devnet"}, {}),
        ({"network": "-217/test"}, {}),
        ({"network": "-217"}, {}),
    ],
)
def test_the_edges_of_what_is_usable(
    changes: dict[str, object], arguments: dict[str, object]
) -> None:
    defaults: dict[str, object] = {"network": "devnet/test", "now": NOW}
    check_descriptor(descriptor_of(KEY, **changes), **(defaults | arguments))  # type: ignore[arg-type] # table


def test_a_descriptor_at_the_limit_is_signed_and_read() -> None:
    """And an entry file has room for it with escapes: its text is full of quotes."""
    offer = descriptor_of(KEY).models[0]

    def sized(quotes: int, letters: int) -> Descriptor:
        features = ['"' * quotes, "x" * letters]
        return descriptor_of(KEY, models=[msgspec.structs.replace(offer, features=features)])

    room = 8192 - len(msgspec.json.encode(sized(0, 0)))
    full = sized(room // 2, room % 2)
    assert len(msgspec.json.encode(full)) == 8192
    raw = encode_entry(sign_descriptor(KEY, full))
    assert len(raw) > 8192 + 1000
    assert read_descriptor(decode_entry(raw)) == full
    with pytest.raises(ConfigError, match="8192"):
        sign_descriptor(KEY, sized(room // 2, room % 2 + 1))


@pytest.mark.parametrize("junk", ["!", "\n", "=", "A"])
def test_a_signature_has_one_spelling(junk: str) -> None:
    entry = sign_descriptor(KEY, descriptor_of(KEY))
    with pytest.raises((RegistryFormatError, RegistrySignatureError)):
        read_descriptor(Entry(d=entry.d, s=junk + entry.s))


@pytest.mark.parametrize("signature", ["", "AA==", "not base64!", "é"])
def test_malformed_signatures(signature: str) -> None:
    entry = sign_descriptor(KEY, descriptor_of(KEY))
    with pytest.raises((RegistryFormatError, RegistrySignatureError)):
        read_descriptor(Entry(d=entry.d, s=signature))

"""Random and mutated bytes at every parser of the registry: only this package's errors come out."""

import contextlib
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry_world import NOW, World

from cocoon_sdk.errors import RegistryError
from cocoon_sdk.registry.descriptor import decode_entry, read_descriptor
from cocoon_sdk.registry.endpoint import parse_endpoint
from cocoon_sdk.registry.model import Entry
from cocoon_sdk.registry.network import parse_network
from cocoon_sdk.registry.trust import parse_trust
from cocoon_sdk.registry.verify import TrustedSet

WORLD = World()
ENTRY = WORLD.entry()
FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def trusted() -> TrustedSet:
    made = TrustedSet(parse_trust(WORLD.trust))
    made.update_root(WORLD.roots[1])
    return made


TRUSTED = trusted()


@st.composite
def mutated(draw: st.DrawFn, raw: bytes) -> bytes:
    """One slice of a genuine file replaced by other bytes."""
    start = draw(st.integers(0, len(raw) - 1))
    length = draw(st.integers(0, 40))
    return raw[:start] + draw(st.binary(max_size=40)) + raw[start + length :]


@FAST
@given(st.binary(max_size=300) | mutated(WORLD.registry_raw or b""))
def test_registry_files(raw: bytes) -> None:
    try:
        verified = TRUSTED.update_registry(raw, NOW)
    except RegistryError:
        return
    assert verified.payload.version == 1  # whatever was changed, it was not what is signed


@FAST
@given(st.binary(max_size=300) | mutated(WORLD.roots[1]))
def test_root_files(raw: bytes) -> None:
    try:
        root = TrustedSet(parse_trust(WORLD.trust)).update_root(raw)
    except RegistryError:
        return
    assert root.version == 1


@FAST
@given(st.binary(max_size=400))
def test_well_signed_rubbish(payload: bytes) -> None:
    try:
        TRUSTED.update_registry(WORLD.sign_registry(payload), NOW)
    except RegistryError:
        return
    raise AssertionError("random bytes were accepted as a registry")


@FAST
@given(st.dictionaries(st.sampled_from(list(WORLD.registry_fields(1))), JSON, min_size=1))
def test_well_signed_registries_with_odd_values(changes: dict[str, object]) -> None:
    payload = json.dumps(WORLD.registry_fields(1) | changes).encode()
    with contextlib.suppress(RegistryError):  # any other error fails the test
        trusted().update_registry(WORLD.sign_registry(payload), NOW)


@FAST
@given(st.text(max_size=300), st.text(max_size=100))
def test_entries(text: str, signature: str) -> None:
    for entry in (Entry(d=text, s=signature), Entry(d=ENTRY.d, s=signature)):
        try:
            read_descriptor(entry)
        except RegistryError:
            continue
        raise AssertionError("an unsigned descriptor was accepted")


@FAST
@given(st.binary(max_size=300), st.text(max_size=100))
def test_small_texts(raw: bytes, text: str) -> None:
    for parse, value in (
        (decode_entry, raw),
        (parse_endpoint, text),
        (parse_endpoint, "wss://" + text),
        (parse_network, text),
    ):
        try:
            parse(value)  # type: ignore[operator] # each with its own kind
        except RegistryError:
            continue

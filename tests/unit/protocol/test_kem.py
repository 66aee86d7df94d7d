"""Suite 2's key encapsulation, and which suites an installation has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from cocoon_sdk.protocol.errors import (
    LocalProtocolError,
    RemoteProtocolError,
    UnsupportedSuiteError,
)
from cocoon_sdk.protocol.kem import (
    CIPHERTEXT_BYTES,
    PUBLIC_BYTES,
    SHARED_BYTES,
    KemKeyPair,
    check_suites,
    encapsulate,
    supported_suites,
)

SEED = bytes(range(64))


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if `cryptography` had no ML-KEM: an import of it fails."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mlkem", None)
    supported_suites.cache_clear()
    yield
    supported_suites.cache_clear()


def test_sizes_and_agreement() -> None:
    pair = KemKeyPair(SEED)
    assert len(pair.public) == PUBLIC_BYTES
    shared, ciphertext = encapsulate(pair.public)
    assert (len(shared), len(ciphertext)) == (SHARED_BYTES, CIPHERTEXT_BYTES)
    assert pair.decapsulate(ciphertext) == shared
    assert encapsulate(pair.public) != (shared, ciphertext)


def test_a_key_pair_is_made_of_its_seed_alone() -> None:
    pair = KemKeyPair(SEED)
    assert pair.public == KemKeyPair(SEED).public
    assert pair.public != KemKeyPair(SEED[::-1]).public
    shared, ciphertext = encapsulate(pair.public)
    assert KemKeyPair(SEED).decapsulate(ciphertext) == shared


def test_a_forged_ciphertext_gives_another_secret() -> None:
    pair = KemKeyPair(SEED)
    shared, ciphertext = encapsulate(pair.public)
    forged = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    assert pair.decapsulate(forged) != shared


@pytest.mark.parametrize("size", [0, 1087, 1089])
def test_ciphertexts_of_another_size(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"{size} bytes, not 1088"):
        KemKeyPair(SEED).decapsulate(bytes(size))


@pytest.mark.parametrize("key", [b"", bytes(1183), bytes(1185), b"\xff" * 1184])
def test_keys_that_are_none(key: bytes) -> None:
    """FIPS 203 demands the check of the modulus: 0xfff is no number below 3329."""
    with pytest.raises(RemoteProtocolError, match=f"ML-KEM key of {len(key)} bytes"):
        encapsulate(key)


def test_both_suites_with_the_extra() -> None:
    assert supported_suites() == (1, 2)


@pytest.mark.usefixtures("without_extra")
def test_suite_1_alone_without_it() -> None:
    assert supported_suites() == (1,)


def test_suite_1_alone_where_the_library_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_seed: bytes) -> None:
        raise UnsupportedAlgorithm("not in this build")

    monkeypatch.setattr(MLKEM768PrivateKey, "from_seed_bytes", refuse)
    supported_suites.cache_clear()
    try:
        assert supported_suites() == (1,)
    finally:
        supported_suites.cache_clear()


@pytest.mark.parametrize(
    ("listed", "usable"),
    [([1], (1,)), ([2], (2,)), ([2, 1], (1, 2)), ([1, 2, 31], (1, 2)), ([31, 1], (1,))],
)
def test_what_can_be_used_of_a_descriptor(listed: list[int], usable: tuple[int, ...]) -> None:
    assert check_suites(listed) == usable


@pytest.mark.usefixtures("without_extra")
def test_a_provider_of_suite_2_alone_names_the_extra() -> None:
    with pytest.raises(UnsupportedSuiteError, match=r"pip install 'cocoon-sdk\[pq\]'"):
        check_suites((2,))
    assert check_suites((1, 2)) == (1,)  # it is met with what is there


@pytest.mark.parametrize("listed", [(), (3,), (31, 32)])
def test_suites_that_nobody_knows(listed: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedSuiteError, match="known here") as caught:
        check_suites(listed)
    assert isinstance(caught.value, LocalProtocolError)  # nothing was sent: nobody broke anything


def test_importing_the_protocol_loads_no_cryptography() -> None:
    code = (
        "import sys, cocoon_sdk.protocol, cocoon_sdk.protocol.session\n"
        "sys.exit(any(name.partition('.')[0] == 'cryptography' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

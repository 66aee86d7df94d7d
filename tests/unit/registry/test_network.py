import hashlib

import pytest

from cocoon_sdk.errors import RegistryFormatError
from cocoon_sdk.registry.network import parse_network, registry_id


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("-239/main", (-239, "main")),
        ("-3/test", (-3, "test")),
        ("devnet/local", (-217, "local")),
        ("-217/local", (-217, "local")),
        ("0/a.b_c-d", (0, "a.b_c-d")),
    ],
)
def test_network_texts(text: str, parsed: tuple[int, str]) -> None:
    assert parse_network(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "main",
        "-239",
        "-239/",
        "/main",
        "-239/Main",
        "-239/a/b",
        "99999999999/x",
        "2147483648/x",
        "-239/main\n",
        " -239/main",
        "+1/x",
        "٣/x",
        "--1/x",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(RegistryFormatError):
        parse_network(text)


def test_a_descriptor_may_leave_the_name_out() -> None:
    assert parse_network("-239", name_required=False) == (-239, "")
    assert parse_network("devnet", name_required=False) == (-217, "")


def test_the_registry_id_is_the_digest_of_the_text() -> None:
    assert registry_id("-239/main") == hashlib.sha256(b"-239/main").digest()

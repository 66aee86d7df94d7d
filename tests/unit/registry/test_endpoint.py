import ipaddress
from collections.abc import Sequence

import pytest

from cocoon_sdk.errors import ConnectError, RegistryFormatError
from cocoon_sdk.registry.endpoint import (
    Endpoint,
    check_address,
    is_loopback_host,
    parse_endpoint,
    resolve_endpoint,
)


@pytest.mark.parametrize(
    ("url", "host", "port", "secure", "loopback"),
    [
        ("wss://provider.example", "provider.example", 443, True, False),
        ("wss://provider.example:8443/e2e?x=1", "provider.example", 8443, True, False),
        ("wss://[2606:4700::1]:1/", "2606:4700::1", 1, True, False),
        ("ws://127.0.0.1:9", "127.0.0.1", 9, False, True),
        ("ws://localhost", "localhost", 80, False, True),
        ("wss://x.example/" + "a" * 496, "x.example", 443, True, False),  # 512 characters
        ("ws://[::1]:9", "::1", 9, False, True),
        ("wss://" + "a" * 63 + ".example.", "a" * 63 + ".example.", 443, True, False),
        ("wss://_x.xn--p1ai", "_x.xn--p1ai", 443, True, False),
    ],
)
def test_allowed_forms(url: str, host: str, port: int, secure: bool, loopback: bool) -> None:
    endpoint = parse_endpoint(url)
    assert (endpoint.host, endpoint.port) == (host, port)
    assert (endpoint.secure, endpoint.loopback) == (secure, loopback)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "provider.example",
        "http://127.0.0.1",
        "https://provider.example",
        "file:///etc/passwd",
        "ws://provider.example",
        "ws://10.0.0.1",
        "ws://localhost.evil.example",
        "ws://127.0.0.1.evil.example",
        "wss://",
        "wss://:443",
        "wss://provider.example:0",
        "wss://provider.example:99999",
        "wss://provider.example:x",
        "wss://user@provider.example",
        "wss://user:secret@provider.example",
        "wss://provider.example#x",
        "wss://provider.example\\@evil",
        "wss://provider.example/\r\nHost: x",
        "wss://provider.example/ x",
        "wss://provider.example/\x00",
        "wss://provider.example/\x7f",
        "wss://prövider.example",
        "wss://[::1",
        "wss://x.example/" + "a" * 497,
        "wss://" + "a" * 64 + ".example",
        "wss://a..example",
        "wss://.example",
        "wss://" + "a." * 127,
        "wss://%31%30.0.0.1",
        "wss://a;b.example",
    ],
)
def test_refused_forms(url: str) -> None:
    with pytest.raises(RegistryFormatError):
        parse_endpoint(url)


def test_web_schemes_where_asked_for() -> None:
    assert parse_endpoint("https://x.example", schemes=("https", "http")).port == 443
    assert parse_endpoint("http://localhost", schemes=("https", "http")).port == 80
    with pytest.raises(RegistryFormatError, match="TLS"):
        parse_endpoint("http://x.example", schemes=("https", "http"))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1"),
        *("2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::"),
        *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::7f00:1", "fec0::1", "5f00::1"),
        *("::127.0.0.1", "::ffff:0:127.0.0.1", "192.0.0.8"),
        # Teredo carries the client's address inverted: this one hides 127.0.0.1.
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    with pytest.raises(ConnectError, match="not a public address"):
        check_address(address)
    assert str(check_address(address, allow_private=True))


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "2606:4700::1", "64:ff9b::808:808", "::ffff:8.8.8.8"),
        "2001:0:4136:e378:8000:63bf:f7f7:f7f7",  # Teredo to 8.8.8.8
    ],
)
def test_public_addresses(address: str) -> None:
    assert check_address(address) == ipaddress.ip_address(address)


def test_loopback_can_be_allowed_without_the_rest() -> None:
    assert str(check_address("127.0.0.1", allow_loopback=True)) == "127.0.0.1"
    for address in ("10.0.0.1", "169.254.169.254", "fe80::1"):
        with pytest.raises(ConnectError):
            check_address(address, allow_loopback=True)


def test_text_that_is_no_address() -> None:
    with pytest.raises(ConnectError, match="not an IP"):
        check_address("localhost")
    assert not is_loopback_host("example.org")


def resolver(*addresses: str):
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


PUBLIC = Endpoint("wss://provider.example", "wss", "provider.example", 443)


@pytest.mark.anyio
async def test_the_checked_addresses_are_the_ones_to_dial() -> None:
    found = await resolve_endpoint(PUBLIC, resolve=resolver("1.1.1.1", "1.1.1.1", "2606:4700::1"))
    assert found == ("1.1.1.1", "2606:4700::1")


@pytest.mark.anyio
async def test_one_private_address_among_public_ones_refuses_the_endpoint() -> None:
    with pytest.raises(ConnectError, match=r"10\.0\.0\.1"):
        await resolve_endpoint(PUBLIC, resolve=resolver("1.1.1.1", "10.0.0.1"))


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001"])
async def test_numbers_in_disguise_are_judged_by_where_they_lead(host: str) -> None:
    with pytest.raises(ConnectError, match="not a public address"):
        await resolve_endpoint(parse_endpoint(f"wss://{host}"))
    assert await resolve_endpoint(parse_endpoint("ws://127.0.0.1:9"), allow_loopback=True) == (
        "127.0.0.1",
    )


@pytest.mark.anyio
async def test_names_without_addresses() -> None:
    async def fails(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    with pytest.raises(ConnectError, match="does not resolve"):
        await resolve_endpoint(PUBLIC, resolve=fails)
    with pytest.raises(ConnectError, match="no address"):
        await resolve_endpoint(PUBLIC, resolve=resolver())


@pytest.mark.anyio
async def test_a_name_that_the_resolver_cannot_spell_does_not_resolve() -> None:
    endpoint = Endpoint("wss://x", "wss", "a" * 64 + ".example", 443)
    with pytest.raises(ConnectError, match="does not resolve"):
        await resolve_endpoint(endpoint)

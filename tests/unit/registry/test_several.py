"""How a user names one registry or several: arguments, one text, the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.registry.fetch import RegistryClient
from cocoon_sdk.registry.several import (
    RegistrySource,
    chain_from_environment,
    open_registries,
    registry_sources,
)
from cocoon_sdk.registry.union import RegistryUnion
from cocoon_sdk.ton.toncenter import ToncenterClient

A, B, C = (f"ed25519:{number:064x}" for number in range(3))


def named(
    registry: Any = None, trust: Any = None, **options: Any
) -> list[tuple[Any, Any, int | None, str]]:
    environ = options.pop("environ", {})
    return [
        (one.locator, one.trust, one.trust_threshold, one.anchor)
        for one in registry_sources(registry, trust, environ=environ, **options)
    ]


@pytest.mark.parametrize("trust", [A, [A], (A,), f" {A} ,"])
def test_one_registry(trust: Any) -> None:
    assert named("https://a/r.json", trust) == [("https://a/r.json", [A], None, "off")]


def test_keys_in_a_list_or_one_text() -> None:
    for trust in ([A, B], f"{A},{B}", f"{A}, {B},"):
        assert named(b"raw", trust, trust_threshold=2) == [(b"raw", [A, B], 2, "off")]


def test_a_pinned_root() -> None:
    for trust in (Path("/x/root.json"), b"root"):
        assert named(Path("/r"), trust) == [(Path("/r"), trust, None, "off")]
    for trust in ("/x/a,b root.json", ["/x/a", "b root.json"]):
        assert named("/r", trust)[0][1] == Path("/x/a,b root.json")
    assert named("/r", "~/root.json")[0][1] == Path("~/root.json").expanduser()


def test_the_environment_stands_in() -> None:
    environ = {"COCOON_REGISTRY": "/r", "COCOON_TRUST": f"{A},{B}", "COCOON_ANCHOR": "warn"}
    assert named(environ=environ) == [("/r", [A, B], None, "warn")]
    assert named("/s", C, anchor="require", environ=environ) == [("/s", [C], None, "require")]


def test_several_in_one_text() -> None:
    environ = {"COCOON_REGISTRY": "https://a/r.json; /b ;", "COCOON_TRUST": f"{A},{B}; {C}"}
    assert named(environ=environ) == [
        ("https://a/r.json", [A, B], None, "off"),
        ("/b", [C], None, "off"),
    ]
    assert [one[1] for one in named("/a;/b", A)] == [[A], [A]]
    assert [one[1] for one in named("/a;/b", f"/x/root.json;{A}")] == [Path("/x/root.json"), [A]]
    assert [one[1] for one in named("/a;/b", b"root")] == [b"root", b"root"]


def test_a_list_of_registries_each_with_its_own_trust() -> None:
    own = RegistrySource("/b", [B], anchor="require")
    assert registry_sources(own, environ={}) == (own,)
    sources = registry_sources(["/a", own, b"raw"], A, anchor="warn", environ={})
    assert sources == (
        RegistrySource("/a", [A], anchor="warn"),
        own,
        RegistrySource(b"raw", [A], anchor="warn"),
    )


@pytest.mark.parametrize(
    ("registry", "trust", "says"),
    [
        (None, A, "no registry: pass registry="),
        ("", A, "no registry"),
        (" ; ", A, "no registry"),
        ([], A, "no registry"),
        ("/a", None, "no root of trust: pass trust="),
        ("/a", [], "no root of trust"),
        ("/a", " , ; ", "no root of trust"),
        ("/a;/b;/c", f"{A};{B}", "3 registries are named, but 2 groups"),
        ("/a", f"{A};{B}", "1 registries are named, but 2 groups"),
    ],
)
def test_what_is_missing_is_said(registry: Any, trust: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        named(registry, trust)


def test_an_unknown_anchor_policy() -> None:
    with pytest.raises(ConfigError, match="anchor is 'maybe'; use one of off, warn, require"):
        named("/a", A, anchor="maybe")
    with pytest.raises(ConfigError, match="'sure'"):
        named("/a", A, environ={"COCOON_ANCHOR": "sure"})


def test_one_is_read_alone_several_as_a_union(tmp_path: Path) -> None:
    one, two = RegistrySource("/a", [A]), RegistrySource(b"raw", b"root")
    alone = open_registries([one], cache_dir=tmp_path)
    assert isinstance(alone, RegistryClient)
    assert alone.name == "/a"
    union = open_registries([one, two], cache_dir=tmp_path)
    assert isinstance(union, RegistryUnion)
    assert [member.client.name for member in union._members] == ["/a", "bytes"]


@pytest.mark.anyio
async def test_the_chain_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COCOON_CHAIN", raising=False)
    with pytest.raises(ConfigError, match="COCOON_CHAIN"):
        chain_from_environment(-217)
    public = chain_from_environment(-239)
    await public.aclose()
    monkeypatch.setenv("COCOON_CHAIN", "http://127.0.0.1:1,http://127.0.0.1:2")
    chain = chain_from_environment(-217)
    assert isinstance(chain, ToncenterClient)
    assert chain.network == -217
    await chain.aclose()

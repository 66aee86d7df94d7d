"""`cocoon chat`: what it says before anybody is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cocoon_sdk.cli.chat import app
from cocoon_sdk.cli.registry import app as registry
from cocoon_sdk.errors import ConfigError


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry that lists nobody, and the settings of somebody who uses it."""
    made, folder = tmp_path / "operator", tmp_path / "public"
    for words in (("init", made, "--network", "devnet/test"), ("sign", made, "--publish", folder)):
        assert CliRunner().invoke(registry, [str(word) for word in words]).exit_code == 0
    monkeypatch.setenv("COCOON_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COCOON_REGISTRY", str(folder))
    monkeypatch.setenv("COCOON_TRUST", str(folder / "root.json"))
    monkeypatch.setenv("COCOON_ASSURANCE", "operator")
    return folder


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["hi", *arguments])
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


@pytest.mark.usefixtures("public")
def test_a_policy_that_cannot_be_read_is_said_though_nobody_is_attested(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    told = refused("--assurance", "attested", "--attestation", str(policy))
    assert told == f"the attestation policy {policy} cannot be read: No such file or directory"


@pytest.mark.usefixtures("public")
def test_an_empty_registry_is_named_as_such() -> None:
    assert refused().endswith("its operator adds providers: cocoon registry add")


def test_of_several_the_one_that_is_out_is_named(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "missing"
    monkeypatch.setenv("COCOON_REGISTRY", f"{public};{missing}")
    told = refused()
    assert told.startswith("the registry lists no model yet")
    assert f"not all of the registry could be read: there is no registry file at {missing}" in told

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from attestation_world import FakeMachine, digest, fake_quote

from cocoon_provider.attestation import load_evidence, previous_path
from cocoon_provider.backends.echo import EchoBackend
from cocoon_provider.config import AttestationSettings
from cocoon_provider.operations.attest import NewBundle, attest
from cocoon_provider.operations.home import Home
from cocoon_provider.operations.init import InitChoices, init_provider
from cocoon_sdk.attestation.bundle import decode_bundle, decode_claims, stapled_report_data
from cocoon_sdk.attestation.policy import DEFAULT_LIFETIME
from cocoon_sdk.errors import AttestationError, ConfigError

pytestmark = pytest.mark.anyio

IMAGE = "ab" * 32
[MODEL] = EchoBackend(("echo",)).models.values()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    choices = InitChoices(
        model="echo", network="devnet/demo", chain_urls=("http://127.0.0.1:9",), backend="echo",
        prompt="1", cached="1", completion="1",
    )  # fmt: skip
    init_provider(tmp_path / "provider", choices)
    return Home.at(tmp_path / "provider")


async def make(home: Home, **changes: object) -> NewBundle:
    collateral = home.folder / "collateral.json"
    collateral.write_bytes(b'{"from": "a file"}')
    settings = {
        "image_id": IMAGE, "output": home.bundle_path, "collateral": collateral,
        "source": FakeMachine(),
    }  # fmt: skip
    return await attest(home, **(settings | changes))  # type: ignore[arg-type]


async def test_what_it_writes_is_what_serve_takes(home: Home) -> None:
    made = await make(home, gpu_evidence="cd" * 32)
    raw = made.path.read_bytes()
    bundle = decode_bundle(raw)
    claims = decode_claims(bundle.claims)
    identity = home.identity().public_key
    assert made.digest.hex() == digest(raw)
    assert bundle.quote == fake_quote(stapled_report_data(identity, bundle.claims))
    assert bundle.collateral == b'{"from": "a file"}'
    assert (claims.image_id.hex(), claims.model_hash) == (IMAGE, MODEL.hash)
    assert claims.gpu_evidence == b"\xcd" * 32
    assert claims.not_before <= time.time() < claims.expires == made.expires
    assert claims.expires - claims.not_before == DEFAULT_LIFETIME
    settings = AttestationSettings(bundle=str(made.path))
    assert load_evidence(settings, [MODEL], identity) is not None
    assert [p.name for p in home.folder.glob("*.tmp")] == []
    await make(home, gpu_evidence="ef" * 32)
    assert previous_path(made.path).read_bytes() == raw != made.path.read_bytes()


async def test_arguments_that_cannot_be_used(home: Home) -> None:
    for wrong in ("", "xyz", "ab" * 31, "ab" * 33):
        with pytest.raises(ConfigError, match="--image-id"):
            await make(home, image_id=wrong)
    with pytest.raises(ConfigError, match="--gpu-evidence"):
        await make(home, gpu_evidence="5")
    with pytest.raises(ConfigError, match="collateral"):
        await make(home, collateral=home.folder / "nowhere")
    text = home.config_path.read_text()
    home.config_path.write_text(text + '[models.free]\nprompt = "0"\ncompletion = "0"\n')
    with pytest.raises(ConfigError, match="offers 2 models"):
        await make(home)
    assert not home.bundle_path.exists()


async def test_this_machine_makes_no_quotes(home: Home) -> None:
    if Path("/sys/kernel/config/tsm/report").exists():
        pytest.skip("this machine has configfs-tsm")
    with pytest.raises(AttestationError, match="needs Linux"):
        await make(home, source=None)


async def test_without_a_file_the_collateral_is_fetched(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a played library: Intel's service is not asked in tests."""

    async def answer(quote: bytes) -> SimpleNamespace:
        assert quote.startswith(b"FAKE QUOTE")
        return SimpleNamespace(to_json=lambda: '{"from": "Intel"}')

    async def fail(quote: bytes) -> None:
        raise RuntimeError("no network")

    played = SimpleNamespace(get_collateral_from_pcs=answer)
    monkeypatch.setitem(sys.modules, "dcap_qvl", played)
    made = await make(home, collateral=None)
    assert decode_bundle(made.path.read_bytes()).collateral == b'{"from": "Intel"}'
    played.get_collateral_from_pcs = fail
    with pytest.raises(AttestationError, match="no network"):
        await make(home, collateral=None)
    monkeypatch.setitem(sys.modules, "dcap_qvl", None)
    with pytest.raises(ConfigError, match=r"cocoon-sdk\[tdx\]"):
        await make(home, collateral=None)

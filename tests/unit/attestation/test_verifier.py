"""Everything but the quote's own genuineness, which `FakeQuotes` says it believes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from attestation_world import (
    IMAGE_ID,
    RTMRS,
    FakeQuotes,
    claims,
    fake_bundle,
    fake_fresh,
    fake_quote,
    image,
    policy,
    verifier,
)

from cocoon_sdk.attestation.bundle import Bundle, encode_claims, stapled_report_data
from cocoon_sdk.attestation.verifier import TdxVerifier, demand
from cocoon_sdk.errors import AttestationError
from cocoon_sdk.types.attestation import AttestationResult

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
NOW = 1_800_000_000
STEPS = ["quote", "tcb", "debug", "binding", "claims", "image"]


@pytest.fixture(autouse=True)
def _at_a_fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attestation_world.clock", lambda: NOW)


def check(
    bundle: Bundle | None = None,
    *,
    now: int = NOW,
    facts: dict[str, Any] | None = None,
    exporter: bytes | None = None,
    identity: bytes = KEY,
    **rules: Any,
) -> AttestationResult:
    return verifier(**(facts or {})).verify(
        bundle or fake_bundle(KEY), identity, policy(**rules), now, exporter=exporter
    )


def failed(result: AttestationResult) -> str:
    """The one step that failed."""
    assert not result.ok
    (step,) = result.failed
    return step.name


def test_a_good_bundle_passes_every_step() -> None:
    bundle = fake_bundle(KEY)
    result = check(bundle)
    assert result.ok
    assert [step.name for step in result.steps] == STEPS
    assert result.digest == bundle.digest.hex()
    assert result.provider == KEY.hex()
    assert (result.fresh, result.checked_at, result.tcb_status) == (False, NOW, "UpToDate")
    assert result.image == IMAGE_ID.hex()
    assert demand(result) is result
    assert result.to_dict()["steps"][0] == {
        "name": "quote", "ok": True, "detail": "a FAKE quote, for tests",
    }  # fmt: skip


def test_it_is_valid_until_the_first_thing_ends() -> None:
    assert check(fake_bundle(KEY, expires=NOW + 100)).valid_until == NOW + 100
    assert check(facts={"expires": NOW + 50}).valid_until == NOW + 50
    assert check(fake_bundle(OTHER_KEY)).valid_until == 0


def test_nothing_is_said_of_a_quote_that_is_not_genuine() -> None:
    bundle = replace(fake_bundle(KEY), quote=b"another")
    result = check(bundle)
    assert [step.name for step in result.steps] == ["quote"]
    assert failed(result) == "quote"
    assert (result.image, result.tcb_status, result.valid_until) == ("", "", 0)


@pytest.mark.parametrize("status", ["OutOfDate", "SWHardeningNeeded", "Revoked", "", "Unheard"])
def test_the_policy_decides_about_the_platform(status: str) -> None:
    assert failed(check(facts={"tcb_status": status})) == "tcb"
    if status in {"OutOfDate", "SWHardeningNeeded"}:
        assert check(facts={"tcb_status": status}, tcb=["UpToDate", status]).ok


def test_old_tcb_data_can_be_refused() -> None:
    assert check(min_tcb_evaluation=17).ok
    assert failed(check(min_tcb_evaluation=18)) == "tcb"


@pytest.mark.parametrize("byte", [1, 2, 16, 128])
def test_a_machine_that_its_host_can_open(byte: int) -> None:
    attributes = bytes([byte]) + bytes.fromhex("00001000000000")
    assert failed(check(facts={"attributes": attributes})) == "debug"


def test_a_machine_that_can_be_moved() -> None:
    assert failed(check(facts={"attributes": bytes.fromhex("0000003000000000")})) == "debug"


def test_another_providers_bundle_is_worth_nothing() -> None:
    assert failed(check(fake_bundle(OTHER_KEY))) == "binding"
    assert failed(check(identity=OTHER_KEY)) == "binding"


def test_claims_cannot_be_exchanged_under_a_quote() -> None:
    good = fake_bundle(KEY)
    longer = replace(good, claims=encode_claims(claims(expires=NOW + 86_400)))
    assert failed(check(longer)) == "binding"


def test_every_bit_of_report_data_counts() -> None:
    told = encode_claims(claims())
    right = stapled_report_data(KEY, told)
    for bit in range(0, 512, 7):
        wrong = bytearray(right)
        wrong[bit // 8] ^= 1 << bit % 8
        bundle = Bundle(quote=fake_quote(bytes(wrong)), collateral=b"{}", claims=told)
        assert failed(check(bundle)) == "binding"


def test_a_fresh_quote_is_for_one_session() -> None:
    mine, yours = b"1" * 32, b"2" * 32
    bundle = replace(fake_bundle(KEY), quote=fake_fresh(KEY, mine))
    result = check(bundle, exporter=mine)
    assert result.ok
    assert result.fresh
    assert failed(check(bundle, exporter=yours)) == "binding"
    assert failed(check(bundle, exporter=mine, identity=OTHER_KEY)) == "binding"
    assert failed(check(bundle)) == "binding", "a fresh quote is no stapled one"
    assert failed(check(fake_bundle(KEY), exporter=mine)) == "binding", "nor the other way round"


@pytest.mark.parametrize(
    ("changes", "now"),
    [
        ({}, NOW - 3_600),
        ({}, NOW + 3_700),
        ({"expires": NOW}, NOW),
        ({"expires": NOW + 8 * 86_400}, NOW),
    ],
)
def test_claims_hold_for_a_while_only(changes: dict[str, Any], now: int) -> None:
    assert failed(check(fake_bundle(KEY, **changes), now=now)) == "claims"


def test_a_longer_life_is_the_policys_choice() -> None:
    assert check(fake_bundle(KEY, expires=NOW + 8 * 86_400), max_lifetime=9 * 86_400).ok


def test_claims_that_cannot_be_read_are_a_failed_step() -> None:
    told = b"\x01"
    quote = fake_quote(stapled_report_data(KEY, told))
    result = check(Bundle(quote=quote, collateral=b"{}", claims=told))
    assert failed(result) == "claims"
    assert "image" not in [step.name for step in result.steps]


def test_an_image_is_known_by_all_its_measurements() -> None:
    for register in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"):
        result = check(images=[image(**{register: "ab" * 48})])
        assert failed(result) == "image"
        assert register in result.failed[0].detail
    assert check(images=[image(rtmr0=RTMRS[0].hex(), rtmr3=RTMRS[3].hex())]).ok


def test_measurements_of_one_image_under_the_id_of_another() -> None:
    unknown = image(id="ab" * 32)
    assert failed(check(images=[unknown])) == "image"
    assert failed(check(images=[unknown, image(mrtd="cd" * 48)])) == "image"


def test_an_image_may_be_pinned_more_than_once() -> None:
    """One image measures differently on machines of different shape."""
    small, large = image(rtmr0="ab" * 48), image(rtmr0=RTMRS[0].hex())
    assert check(images=[small, large]).ok
    assert check(images=[large, small]).ok


def test_what_is_not_pinned_and_not_checked_is_said() -> None:
    result = check(fake_bundle(KEY, gpu_evidence=b"g" * 32))
    details = {step.name: step.detail for step in result.steps}
    assert "not pinned: rtmr0, rtmr3" in details["image"]
    assert "not checked" in details["claims"]


def test_demand_names_the_first_failure_and_keeps_all_steps() -> None:
    result = check(fake_bundle(OTHER_KEY), facts={"tcb_status": "OutOfDate"})
    with pytest.raises(AttestationError, match="step 'tcb'") as caught:
        demand(result)
    assert caught.value.steps == result.steps
    assert [step.name for step in result.failed] == ["tcb", "binding"]


def test_no_steps_is_no_success() -> None:
    with pytest.raises(AttestationError):
        demand(AttestationResult(provider=KEY.hex(), digest="ab" * 32, steps=()))


def test_the_default_checks_quotes_with_dcap_qvl() -> None:
    fakes = FakeQuotes()
    assert TdxVerifier(fakes).verify(fake_bundle(KEY), KEY, policy(), NOW).ok
    assert fakes.calls == 1
    assert failed(TdxVerifier().verify(fake_bundle(KEY), KEY, policy(), NOW)) == "quote"

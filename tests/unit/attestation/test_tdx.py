"""The genuine quote, which was valid once. It binds somebody else's key, so that step must fail throughout."""

from __future__ import annotations

import base64
import json
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from attestation_world import GENUINE_AT, Genuine, policy

from cocoon_sdk.attestation import tdx
from cocoon_sdk.attestation.policy import AttestationPolicy
from cocoon_sdk.attestation.steps import Checklist, QuoteFacts
from cocoon_sdk.attestation.tdx import DcapQuotes
from cocoon_sdk.attestation.verifier import TdxVerifier
from cocoon_sdk.errors import ConfigError
from cocoon_sdk.types.attestation import AttestationResult

pytest.importorskip("dcap_qvl")

KEY = b"k" * 32
SIGNED = 632  # header and report, which the attestation key signs
END = 4936  # of the certificates; zero padding follows


@pytest.fixture(scope="module")
def genuine(outside_data: Path) -> Genuine:
    return Genuine.read(outside_data)


def verify(genuine: Genuine, now: int = GENUINE_AT) -> AttestationResult:
    rules = AttestationPolicy(images=[genuine.image()])
    return TdxVerifier().verify(genuine.bundle(), KEY, rules, now)


def facts(genuine: Genuine) -> QuoteFacts | None:
    return DcapQuotes().check(genuine.quote, genuine.collateral, GENUINE_AT, Checklist())


def first_failure(genuine: Genuine, now: int = GENUINE_AT) -> str:
    return verify(genuine, now).failed[0].name


def test_at_its_time_all_but_the_binding_holds(genuine: Genuine) -> None:
    result = verify(genuine)
    assert [(step.name, step.ok) for step in result.steps] == [
        ("quote", True),
        ("signature", True),
        ("collateral", True),
        ("tcb", True),
        ("debug", True),
        ("binding", False),
        ("claims", True),
        ("image", True),
    ]
    assert not result.ok
    assert result.tcb_status == "UpToDate"


def test_the_facts_are_those_of_the_quote(genuine: Genuine) -> None:
    found = facts(genuine)
    assert found is not None
    body = genuine.quote[48:632]
    assert found.report_data == body[520:584]
    assert found.attributes == body[120:128]
    assert found.mrtd == body[136:184]
    assert found.rtmrs == tuple(body[328 + 48 * n : 376 + 48 * n] for n in range(4))
    assert (found.tcb_status, found.tcb_evaluation, found.advisories) == ("UpToDate", 17, ())
    assert GENUINE_AT < found.expires < GENUINE_AT + 31 * 86_400


def test_today_its_collateral_is_out_of_date(genuine: Genuine) -> None:
    result = verify(genuine, int(time.time()))
    assert [(step.name, step.ok) for step in result.steps] == [
        ("quote", True),
        ("signature", True),
        ("collateral", False),
    ]


def test_the_collateral_begins_and_ends(genuine: Genuine) -> None:
    found = facts(genuine)
    assert found is not None
    for now, good in (
        (found.expires - 1, True),
        (found.expires, False),
        (found.expires + 1, False),
        (GENUINE_AT - 3 * 86_400, False),
        (0, False),
        (2**63 - 1, False),
        (2**70, False),
        (-1, False),
    ):
        steps = {step.name: step.ok for step in verify(genuine, now).steps}
        assert steps.get("collateral", steps["signature"]) is good, now


def test_every_signed_byte_counts(genuine: Genuine) -> None:
    """Header, report, the platform's signatures and its certificates; a third of them in each run."""
    draw = random.Random(time.time_ns())
    accepted = []
    for offset in draw.sample(range(END), END // 3):
        changed = bytearray(genuine.quote)
        changed[offset] ^= 1 << draw.randrange(8)
        found = facts(replace(genuine, quote=bytes(changed)))
        if found is not None:
            accepted.append(offset)
            # What Intel's signatures do not cover changes nothing, and changes the bundle's digest.
            assert found == facts(genuine)
            assert replace(genuine.bundle(), quote=bytes(changed)).digest != genuine.bundle().digest
    assert all(offset >= SIGNED for offset in accepted)


@pytest.mark.parametrize(
    ("offset", "step"),
    [
        (0, "quote"),  # version
        (4, "quote"),  # kind of machine
        (48, "signature"),  # platform's security version
        (48 + 120, "signature"),  # attributes: the debug bit
        (48 + 136, "signature"),  # MRTD
        (48 + 376, "signature"),  # RTMR1
        (48 + 520, "signature"),  # report_data
        (636, "signature"),  # the quote's signature
        (700, "signature"),  # the attestation key
        (770, "signature"),  # the quoting enclave's report
        (1154, "signature"),  # its signature
        (1300, "signature"),  # the platform's certificate
        (3000, "signature"),  # the certificate above it
    ],
)
def test_tampered_regions_fail_at_their_step(genuine: Genuine, offset: int, step: str) -> None:
    changed = bytearray(genuine.quote)
    changed[offset] ^= 1
    assert first_failure(replace(genuine, quote=bytes(changed))) == step


def test_quotes_of_any_length_are_refused_without_harm(genuine: Genuine) -> None:
    rules = AttestationPolicy(images=[genuine.image()])
    for length in (1, 47, 48, 631, 632, 700, 1300, END - 1):
        cut = replace(genuine.bundle(), quote=genuine.quote[:length])
        result = TdxVerifier().verify(cut, KEY, rules, GENUINE_AT)
        assert result.failed[0].name in {"quote", "signature"}


def test_a_quote_of_sgx_is_none_of_tdx(genuine: Genuine) -> None:
    """Readable as one: an enclave's report of 384 bytes in place of a machine's."""
    quote = genuine.quote[:4] + bytes(4) + genuine.quote[8:48] + bytes(384) + genuine.quote[SIGNED:]
    steps = Checklist()
    assert DcapQuotes().check(quote, genuine.collateral, GENUINE_AT, steps) is None
    [step] = steps.steps
    assert (step.name, step.ok, step.detail) == (
        "quote",
        False,
        "this is a quote of SGX, not of TDX",
    )


def test_a_library_that_overlooks_the_end_is_not_enough(
    genuine: Genuine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tdx._verify
    monkeypatch.setattr(tdx, "_verify", lambda *at: real(*at[:3], GENUINE_AT))
    assert first_failure(genuine, GENUINE_AT + 40 * 86_400) == "collateral"


# The issuer of the platform's revocation list comes with the quote itself; `pck_crl_issuer_chain` is not read.
COLLATERAL = (
    "root_ca_crl", "pck_crl", "tcb_info_issuer_chain", "tcb_info", "tcb_info_signature",
    "qe_identity_issuer_chain", "qe_identity", "qe_identity_signature",
)  # fmt: skip


@pytest.mark.parametrize("field", COLLATERAL)
def test_tampered_collateral_is_refused(genuine: Genuine, field: str) -> None:
    text = json.loads(genuine.collateral)[field]
    # In the first quarter: the second certificate of a chain is Intel's root, which is known here.
    at = next(i for i in range(len(text) // 4, len(text)) if text[i].isalnum())
    changed = text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :]
    assert first_failure(genuine.with_collateral(**{field: changed})) in {"collateral", "signature"}


def test_better_news_of_the_platform_cannot_be_written_in(genuine: Genuine) -> None:
    info = json.loads(genuine.collateral)["tcb_info"]
    for old, new in (("OutOfDate", "UpToDate"), ("2025-07-19", "2035-07-19")):
        assert old in info
        assert (
            first_failure(genuine.with_collateral(tcb_info=info.replace(old, new))) == "signature"
        )


@pytest.mark.parametrize(
    "raw",
    [b"{}", b"\xff", b"null", b"[" * 100_000, b'{"tcb_info": 5}', b" "],
    ids=["empty", "not text", "null", "deep", "wrong type", "blank"],
)
def test_collateral_that_is_none(genuine: Genuine, raw: bytes) -> None:
    assert first_failure(replace(genuine, collateral=raw)) == "collateral"


def test_collateral_whose_dates_are_nonsense(genuine: Genuine) -> None:
    for text in ("", "5", "{}", '{"issueDate": 7}', '{"issueDate": "x"}', "[" * 50_000):
        assert first_failure(genuine.with_collateral(tcb_info=text)) == "signature"


def test_collateral_under_another_root(genuine: Genuine) -> None:
    """Certificates that somebody made: here a chain whose last letter of a key is another."""
    chain = json.loads(genuine.collateral)["tcb_info_issuer_chain"]
    first, rest = chain.split("-----END CERTIFICATE-----", 1)
    head, body = first.split("-----\n", 1)
    der = bytearray(base64.b64decode(body))
    der[-1] ^= 1
    forged = f"{head}-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----{rest}"
    assert first_failure(genuine.with_collateral(tcb_info_issuer_chain=forged)) == "signature"


def test_an_image_that_is_not_the_measured_one(genuine: Genuine) -> None:
    wrong = AttestationPolicy(images=[genuine.image(rtmr2="ab" * 48)])
    result = TdxVerifier().verify(genuine.bundle(), KEY, wrong, GENUINE_AT)
    assert [step.name for step in result.failed] == ["binding", "image"]
    assert [
        s.name for s in TdxVerifier().verify(genuine.bundle(), KEY, policy(), GENUINE_AT).failed
    ] == [
        "binding",
        "image",
    ]


def test_without_the_extra_it_says_what_to_install(
    genuine: Genuine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dcap_qvl", None)
    with pytest.raises(ConfigError, match=r"pip install 'cocoon-sdk\[tdx\]'"):
        verify(genuine)


def test_a_panic_of_the_library_is_a_refusal(
    genuine: Genuine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dcap_qvl

    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

    def raising(error: BaseException) -> object:
        def parse(_: bytes) -> None:
            raise error

        return parse

    monkeypatch.setattr(dcap_qvl, "parse_quote", raising(panic("index out of bounds")))
    result = verify(genuine)
    assert [(step.name, step.ok) for step in result.steps] == [("quote", False)]
    assert "out of bounds" in result.steps[0].detail
    monkeypatch.setattr(dcap_qvl, "parse_quote", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        verify(genuine)


def test_a_library_that_answers_otherwise_is_not_believed(
    genuine: Genuine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in ({}, {"tcb": None}, {"tcb": {"status": "UpToDate"}}):
        monkeypatch.setattr(tdx, "_verify", lambda *_, answer=answer: answer)
        assert first_failure(genuine) == "signature"

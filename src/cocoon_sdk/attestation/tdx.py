"""Whether a TDX quote is genuine, through `dcap-qvl` and Intel's root certificate (extra `[tdx]`)."""

from __future__ import annotations

import datetime as dt
import importlib
import json
from typing import Any

from cocoon_sdk.attestation.steps import Checklist, QuoteFacts
from cocoon_sdk.errors import ConfigError

_TDX = 0x81  # tee_type of the quote's header
_SIGNED = "signed by the platform, whose chain ends at Intel's root"
_PANIC = "pyo3_runtime"  # the module of the exception that a panic in Rust becomes


class DcapQuotes:
    """Checks quotes with `dcap-qvl`. Implements `QuoteChecker`; nothing is fetched."""

    def check(
        self, quote: bytes, collateral: bytes, now: int, checklist: Checklist
    ) -> QuoteFacts | None:
        """See `QuoteChecker.check`.

        Raises:
            ConfigError: the extra `[tdx]` is not installed.
        """
        library = _library()
        parsed = _try(lambda: library.parse_quote(quote))
        if isinstance(parsed, str):
            checklist.note("quote", False, f"the quote cannot be read: {parsed}")
            return None
        if parsed.header.tee_type != _TDX or not parsed.is_tdx():
            checklist.note("quote", False, f"this is a quote of {parsed.quote_type()}, not of TDX")
            return None
        checklist.note("quote", True, f"a TDX quote of version {parsed.header.version}")
        material = _try(lambda: library.QuoteCollateralV3.from_json(collateral.decode("utf-8")))
        if isinstance(material, str):
            checklist.note("collateral", False, f"the collateral cannot be read: {material}")
            return None
        claims = _try(lambda: _verify(library, quote, material, now))
        if isinstance(claims, str):
            _explain(library, quote, material, claims, checklist)
            return None
        facts: QuoteFacts | str = _try(lambda: _facts(parsed.report, claims))
        if isinstance(facts, str):
            why = f"this version of dcap-qvl answers in another form: {facts}"
            checklist.note("signature", False, why)
            return None
        checklist.note("signature", True, _SIGNED)
        if now >= facts.expires:
            checklist.note("collateral", False, f"the collateral ended {now - facts.expires} s ago")
            return None
        checklist.note("collateral", True, f"the collateral holds for {facts.expires - now} s more")
        return facts


def _library() -> Any:
    try:
        return importlib.import_module("dcap_qvl")
    except ImportError as error:
        raise ConfigError(
            "attestation cannot be verified here: dcap-qvl is missing; "
            "install it with: pip install 'cocoon-sdk[tdx]'"
        ) from error


def _try(work: Any) -> Any:
    """What `work` gives, or why it failed, as text.

    The input is the provider's. A panic of the library is a refusal like its errors, and no reason to take
    this process down; it derives from BaseException, as Ctrl-C does, which goes on.
    """
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - whatever foreign bytes lead to, they are refused
        return _one_line(error)
    except BaseException as error:
        if type(error).__module__ != _PANIC:
            raise
        return _one_line(error)


def _one_line(error: BaseException) -> str:
    text = "".join(c if c.isprintable() else " " for c in str(error)[:300])
    return " ".join(text.removeprefix("Verification failed:").split())


def _verify(library: Any, quote: bytes, material: Any, at: int) -> dict[str, Any]:
    # The library judges signatures, revocation and times; what is acceptable is our policy's part.
    policy = library.QuotePolicy.claims_only(at)
    claims = library.QuoteVerifier().verify_with_policy(quote, material, at, policy)
    found: dict[str, Any] = json.loads(claims.to_json())
    return found


def _explain(library: Any, quote: bytes, material: Any, why: str, checklist: Checklist) -> None:
    """Which step failed: a quote that was genuine when its collateral was issued is only out of date."""
    issued = _try(lambda: _issued(material))
    earlier = (
        issued
        if isinstance(issued, str)
        else _try(lambda: _verify(library, quote, material, issued))
    )
    if isinstance(earlier, str):
        checklist.note("signature", False, f"no valid chain from the quote to Intel's root: {why}")
        return
    checklist.note("signature", True, _SIGNED)
    checklist.note("collateral", False, f"the collateral is not valid now: {why}")


def _issued(material: Any) -> int:
    times = [json.loads(text)["issueDate"] for text in (material.tcb_info, material.qe_identity)]
    return max(int(dt.datetime.fromisoformat(text).timestamp()) for text in times) + 1


def _facts(report: Any, claims: dict[str, Any]) -> QuoteFacts:
    tcb = claims["tcb"]
    return QuoteFacts(
        report_data=bytes(report.report_data),
        mrtd=bytes(report.mr_td),
        rtmrs=(
            bytes(report.rt_mr0),
            bytes(report.rt_mr1),
            bytes(report.rt_mr2),
            bytes(report.rt_mr3),
        ),
        attributes=bytes(report.td_attributes),
        tcb_status=str(tcb["status"]),
        tcb_evaluation=int(tcb["eval_data_number"]),
        advisories=tuple(str(one) for one in tcb["advisory_ids"]),
        expires=min(
            int(claims["earliest_expiration_date"]), int(claims["qe_iden_earliest_expiration_date"])
        ),
    )

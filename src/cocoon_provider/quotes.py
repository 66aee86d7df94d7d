"""Quotes of the confidential machine that this process runs in, from the Linux kernel.

The code follows the kernel's description of `configfs-tsm` (Linux 6.7 or newer). It was never run on a
machine with Intel TDX: none was at hand.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Protocol

from cocoon_sdk.attestation.bundle import MAX_QUOTE
from cocoon_sdk.errors import AttestationError

TSM_REPORTS = Path("/sys/kernel/config/tsm/report")
REPORT_DATA = 64
_TDX_GUEST = "tdx_guest"


class QuoteSource(Protocol):
    """Something that makes quotes about the machine it runs in."""

    def quote(self, report_data: bytes) -> bytes:
        """A quote over 64 bytes. It may take a second.

        Raises:
            AttestationError: this machine makes none.
        """
        ...


class TsmQuotes:
    """Quotes through `configfs-tsm`: a folder made there is one report, its files are the exchange."""

    def __init__(self, folder: Path = TSM_REPORTS) -> None:
        self._folder = folder

    def quote(self, report_data: bytes) -> bytes:
        """See `QuoteSource.quote`."""
        if len(report_data) != REPORT_DATA:
            raise ValueError(f"report_data has {REPORT_DATA} bytes, got {len(report_data)}")
        # A name of our own: another process that wrote to the same report would change its content.
        report = self._folder / f"cocoon-{secrets.token_hex(8)}"
        try:
            self._open(report)
            try:
                return self._exchange(report, report_data)
            finally:
                self._close(report)
        except OSError as error:
            raise AttestationError(
                f"no quote from {self._folder}: {error.strerror or error}; it needs Linux 6.7 or newer in a "
                "TDX machine, with configfs mounted and the right to make folders there"
            ) from error

    def _open(self, report: Path) -> None:
        report.mkdir()

    def _exchange(self, report: Path, report_data: bytes) -> bytes:
        provider = (report / "provider").read_text("ascii").strip()
        if provider != _TDX_GUEST:
            raise AttestationError(
                f"this machine's reports come from {provider[:40]!r}, not from {_TDX_GUEST}"
            )
        (report / "inblob").write_bytes(report_data)
        written = self._generation(report)
        quote = (report / "outblob").read_bytes()
        if self._generation(report) != written:
            raise AttestationError(
                "another process wrote to the report while it was made; try again"
            )
        if not 0 < len(quote) <= MAX_QUOTE:
            raise AttestationError(f"the quote has {len(quote)} bytes, expected 1 to {MAX_QUOTE}")
        return quote

    def _generation(self, report: Path) -> int:
        """Counts the writes to this report."""
        return int((report / "generation").read_text("ascii"))

    def _close(self, report: Path) -> None:
        report.rmdir()

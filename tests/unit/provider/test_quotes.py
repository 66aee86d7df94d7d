"""The exchange with `configfs-tsm`, against a folder that plays the kernel. No TDX machine was at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from cocoon_provider.quotes import TsmQuotes
from cocoon_sdk.attestation.bundle import MAX_QUOTE
from cocoon_sdk.errors import AttestationError

DATA = bytes(range(64))


class PlayedKernel(TsmQuotes):
    """Fills a new report as the kernel does, and takes it away with its files."""

    def __init__(
        self, folder: Path, *, provider: str = "tdx_guest", quote: bytes = b"QUOTE"
    ) -> None:
        super().__init__(folder)
        self.provider = provider
        self.made = quote
        self.generations = ["1", "1"]
        self.written = b""

    def _open(self, report: Path) -> None:
        super()._open(report)
        (report / "provider").write_text(f"{self.provider}\n")
        (report / "outblob").write_bytes(self.made)

    def _generation(self, report: Path) -> int:
        self.written = (report / "inblob").read_bytes()
        (report / "generation").write_text(f"{self.generations.pop(0)}\n")
        return super()._generation(report)

    def _close(self, report: Path) -> None:
        for file in report.iterdir():
            file.unlink()
        super()._close(report)


def test_a_quote_over_what_was_asked(tmp_path: Path) -> None:
    kernel = PlayedKernel(tmp_path)
    assert kernel.quote(DATA) == b"QUOTE"
    assert kernel.written == DATA
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"provider": "sev_guest"}, "'sev_guest', not from tdx_guest"),
        ({"quote": b""}, "has 0 bytes"),
        ({"quote": b"q" * (MAX_QUOTE + 1)}, f"has {MAX_QUOTE + 1} bytes"),
    ],
)
def test_what_is_no_quote(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    with pytest.raises(AttestationError, match=says):
        PlayedKernel(tmp_path, **settings).quote(DATA)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_another_process_changed(tmp_path: Path) -> None:
    kernel = PlayedKernel(tmp_path)
    kernel.generations = ["1", "2"]
    with pytest.raises(AttestationError, match="another process"):
        kernel.quote(DATA)


def test_a_machine_without_tdx(tmp_path: Path) -> None:
    with pytest.raises(AttestationError, match="needs Linux"):
        TsmQuotes(tmp_path / "nowhere").quote(DATA)


def test_report_data_is_exactly_as_long_as_the_hardware_wants(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        PlayedKernel(tmp_path).quote(DATA[:-1])
    assert list(tmp_path.iterdir()) == []

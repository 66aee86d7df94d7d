"""Every benchmark runs and tells what it should; what it measures in one tiny round means nothing."""

from __future__ import annotations

import importlib
import json
import ssl

import pytest

from benchmarks import __main__ as program
from benchmarks import ledger_vouchers, registry, tls
from benchmarks.harness import QUICK, Figure
from cocoon_sdk.protocol.kem import supported_suites

SUITES = len(supported_suites())
FIGURES = {
    "wire": 2 + SUITES,
    "loopback": 2 + SUITES,
    "ledger": 6 if ledger_vouchers.has_postgres() else 4,
    "imports": 2,
}


def run(part: str) -> list[Figure]:
    figures: list[Figure] = importlib.import_module(f"benchmarks.{part}").run(QUICK)
    return figures


@pytest.mark.parametrize(("part", "count"), FIGURES.items())
def test_part(part: str, count: int) -> None:
    check(run(part), count)


def test_registry() -> None:
    check(run("registry"), 4 if registry.STATUS.exists() else 2)


def check(figures: list[Figure], count: int) -> None:
    assert len(figures) == count
    assert len({(figure.name, figure.peer) for figure in figures}) == count
    for figure in figures:
        assert figure.peer
        assert figure.ours > 0
        assert figure.theirs > 0
        assert (figure.met is None) == (figure.goal is None)


def test_the_peer_of_handshakes_is_mutual_tls_1_3() -> None:
    for make in (tls.p256, tls.edwards):
        client, server = tls.MutualTls(make(), make()).shake_hands()
        for end in (client, server):
            assert end.version() == "TLSv1.3"
            assert end.getpeercert(binary_form=True)
            assert not end.session_reused


def test_tls_refuses_certificates_that_it_does_not_know() -> None:
    for name, side in (("_server", ssl.PROTOCOL_TLS_SERVER), ("_client", ssl.PROTOCOL_TLS_CLIENT)):
        mutual = tls.MutualTls(tls.p256(), tls.p256())
        setattr(mutual, name, tls.context(tls.p256(), tls.p256(), side))
        with pytest.raises(ssl.SSLError):
            mutual.shake_hands()


def test_json_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "PARTS", ("wire",))
    assert program.main(["wire", "--quick", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"name", "peer", "unit", "ours", "theirs", "ratio", "goal", "met"} <= lines[0].keys()


def test_a_table_says_goals(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["wire", "--quick"]) == 0
    assert "libsodium alone" in capsys.readouterr().out


def test_an_unknown_part_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["wires"]) == 2
    assert "wires" in capsys.readouterr().err

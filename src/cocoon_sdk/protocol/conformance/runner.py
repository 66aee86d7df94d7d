"""Lines in, lines out: one case each, one answer each."""

from __future__ import annotations

from typing import Any, BinaryIO

import msgspec

from cocoon_sdk.protocol.conformance.bodies import run_body, run_keys, run_records
from cocoon_sdk.protocol.conformance.cases import (
    CASE_DECODER,
    HEAD_DECODER,
    BodyCase,
    Case,
    KeysCase,
    SessionCase,
)
from cocoon_sdk.protocol.conformance.sessions import run_session
from cocoon_sdk.protocol.conformance.values import CaseError

_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def run(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer every line of `source` in order, each as soon as it is read; empty lines are skipped."""
    for line in source:
        if line.strip():
            sink.write(msgspec.json.encode(answer_line(line)) + b"\n")
            sink.flush()


def answer_line(line: bytes) -> dict[str, Any]:
    """The answer to one line, or the reason why there is none."""
    try:
        case = CASE_DECODER.decode(line)
    except msgspec.ValidationError as error:
        return _failed(_name(line), "bad_case", str(error))
    except _NOT_JSON as error:
        return _failed(None, "bad_json", str(error))
    try:
        return {"id": case.id, "answer": _answer(case)}
    except (CaseError, RecursionError) as error:
        return _failed(case.id, "bad_case", str(error))
    except Exception as error:  # noqa: BLE001 - whoever drives us needs a line, and the next cases
        return _failed(case.id, "internal", f"{type(error).__name__}: {error}")


def _answer(case: Case) -> dict[str, Any]:
    if isinstance(case, SessionCase):
        return run_session(case)
    if isinstance(case, BodyCase):
        return run_body(case)
    if isinstance(case, KeysCase):
        return run_keys(case)
    return run_records(case)


def _name(line: bytes) -> str | None:
    try:
        return HEAD_DECODER.decode(line).id
    except _NOT_JSON:
        return None


def _failed(name: str | None, kind: str, message: str) -> dict[str, Any]:
    return {"id": name, "error": {"type": kind, "message": message}}

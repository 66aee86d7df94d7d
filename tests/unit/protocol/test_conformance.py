"""The conformance runner: every vector through the real process, and what it says about bad cases."""

from __future__ import annotations

import ast
import io
import json
import re
import runpy
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import cocoon_sdk.protocol
from cocoon_sdk.protocol.conformance import runner
from cocoon_sdk.protocol.conformance.reasons import Reason, reason_of, refusal_of
from cocoon_sdk.protocol.conformance.values import CaseError, from_tree, to_tree
from cocoon_sdk.protocol.errors import LocalProtocolError
from tests.unit.protocol.conformance_pipe import (
    FILES,
    Case,
    expected,
    pipe,
    pipe_cases,
    vectors,
)


def answer(case: Case) -> dict[str, Any]:
    """The answer, without a process."""
    sink = io.BytesIO()
    runner.run(io.BytesIO(json.dumps(case).encode()), sink)
    [line] = sink.getvalue().splitlines()
    told: dict[str, Any] = json.loads(line)
    return told


def answer_all(lines: list[bytes], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the module run as a program answers, in this process."""
    sink = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines))))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sink))
    runpy.run_module("cocoon_sdk.protocol.conformance", run_name="__main__")
    return [json.loads(line) for line in sink.getvalue().splitlines()]


def find(name: str) -> Case:
    [case] = [case for file in FILES for case in vectors(file) if case["id"] == name]
    return case


class TestVectors:
    @pytest.mark.parametrize("name", FILES)
    def test_every_case_through_the_process(self, name: str) -> None:
        cases = vectors(name)
        answers = pipe_cases(cases)
        wrong = [c["id"] for c, a in zip(cases, answers, strict=True) if a != expected(c)]
        assert wrong == []

    def test_every_case_in_this_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cases = [case for name in FILES for case in vectors(name)]
        answers = answer_all([json.dumps(case).encode() for case in cases], monkeypatch)
        assert answers == [expected(case) for case in cases]

    def test_the_answer_does_not_look_at_what_is_expected(self) -> None:
        for name in FILES:
            case = vectors(name)[0]
            blind = {key: value for key, value in case.items() if key != "expect"}
            assert answer(blind) == expected(case)

    def test_a_flipped_bit_in_any_message_is_noticed(self) -> None:
        spoiled = list(self.spoiled(vectors("handshake.json")))
        assert len(spoiled) > 80
        self.demand_notice(spoiled)

    def test_a_changed_value_is_noticed(self) -> None:
        keys = [case | {"shared": flip(case["shared"])} for case in vectors("keys.json")]
        bodies = [
            case | {"body": case["body"][:-1] + ("1" if case["body"][-1] != "1" else "2")}
            for case in vectors("bodies.json")
            if case["id"].startswith("decode/") and case["body"]
        ]
        padding = [
            case | {"body": "01"}
            for case in vectors("padding.json")
            if case["id"] != "records/DELTA_1"
        ]
        self.demand_notice([*keys, *bodies, *padding])

    def test_a_changed_expectation_is_noticed(self) -> None:
        for name in FILES:
            case = vectors(name)[-1]
            assert answer(case) == expected(case)
            assert answer(case) != expected(case | {"expect": {}})

    def test_an_answer_does_not_wait_for_the_next_case(self) -> None:
        """Whoever drives us may choose the next case by the last answer."""
        line = json.dumps(find("encode/ACK/ack")).encode() + b"\n"
        arrived = io.BytesIO()
        seen: list[int] = []

        def lines() -> Iterator[bytes]:
            for _ in range(3):
                seen.append(arrived.getvalue().count(b"\n"))
                yield line

        runner.run(lines(), io.BufferedWriter(arrived))  # type: ignore[arg-type] # as much of a stream as it reads
        assert seen == [0, 1, 2]

    @staticmethod
    def spoiled(cases: list[Case]) -> Iterator[Case]:
        for case in cases:
            for index, step in enumerate(case["steps"]):
                if step["do"] == "receive":
                    bad = deepcopy(case)
                    bad["steps"][index]["message"] = flip(step["message"])
                    yield bad

    @staticmethod
    def demand_notice(cases: list[Case]) -> None:
        answers = pipe_cases(cases)
        assert [c["id"] for c, a in zip(cases, answers, strict=True) if a == expected(c)] == []


def flip(digits: str) -> str:
    """The lowest bit of a byte in the middle turned."""
    raw = bytearray.fromhex(digits)
    raw[len(raw) // 2] ^= 1
    return raw.hex()


class TestBadCases:
    def test_one_line_each_and_no_traceback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        good = find("encode/ACK/ack")
        lines = [
            b"",
            b"{",
            b"null",
            b"[]",
            b'{"kind":"body","id":"a\xff"}',
            b"   ",
            b'{"kind":"body","id":"deep","frame":"ACK","value":' + b"[" * 100_000,
            b'{"id":"\xff"}',
            b'{"id":"a"}',
            b'{"id":"a","kind":"dance"}',
            b'{"id":7,"kind":"body"}',
            json.dumps(good).encode(),
        ]
        answers = pipe(lines)
        assert answer_all(lines, monkeypatch) == answers
        kinds = [told.get("error", {}).get("type") for told in answers]
        assert kinds == ["bad_json", "bad_case", "bad_case", "bad_json", "bad_json",
                         "bad_case", "bad_case", "bad_case", "bad_case", None]  # fmt: skip
        assert [told["id"] for told in answers[5:]] == [None, "a", "a", None, good["id"]]
        assert answers[-1] == expected(good)

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"color": "red"}, "unknown field `color`"),
            ({"value": ...}, "either `value` or `body`"),
            ({"body": "90"}, "either `value` or `body`"),
            ({"frame": "DANCE"}, "no frame is called 'DANCE'"),
            ({"frame": "QUEUE"}, "the value is no QUEUE"),
            ({"frame": "PING"}, "PING is raw bytes"),
            ({"frame": "PING", "value": {"$hex": "00"}}, "the value is no PING"),
            ({"value": {"$hex": "0"}}, "other than hex digits"),
            ({"value": {"$hex": "00", "more": 1}}, "no other members"),
            ({"value": [2**70]}, "the value is no ACK"),
        ],
    )
    def test_bodies(self, change: dict[str, Any], complaint: str) -> None:
        case = {k: v for k, v in (find("encode/ACK/ack") | change).items() if v is not ...}
        self.demand(case, complaint)

    @pytest.mark.parametrize(
        ("written", "complaint"),
        [
            ("0g", "other than hex digits"),
            (7, "hex digits, or a list"),
            ([["00"]], "hex digits, or a list"),
            ([{"repeat": "00"}], "hex digits, or a list"),
            ([{"repeat": "00", "times": 2, "more": 1}], "hex digits, or a list"),
            ([{"repeat": "0000", "times": 2**21}], "repeats 2 bytes 2097152 times"),
            ([{"repeat": "00", "times": -1}], "repeats 1 bytes -1 times"),
            ([{"repeat": "00", "times": 2**21}, "00"], "longer than 2097152"),
            ("00", "1 bytes where 32 are needed"),
        ],
    )
    def test_byte_strings(self, written: Any, complaint: str) -> None:
        case = find("client/suite_1")
        case["config"]["ephemeral_secret"] = written
        self.demand(case, complaint)

    def test_parts_of_a_byte_string(self) -> None:
        case = find("client/suite_1")
        digits = case["config"]["ephemeral_secret"]
        case["config"]["ephemeral_secret"] = [digits[:10], {"repeat": digits[10:12], "times": 1},
                                              digits[12:]]  # fmt: skip
        assert answer(case) == expected(case)

    def test_steps(self) -> None:
        server = find("server/suite_1")
        for do in ("start", "open"):
            self.demand(server | {"steps": [{"do": do}]}, "only a client")
        self.demand(server | {"steps": [{"do": "sing"}]}, "Invalid value 'sing'")
        self.demand(server | {"steps": [{"do": "close", "reason": 9}]}, "Invalid enum value 9")

    def test_what_suite_2_needs(self) -> None:
        client, server = find("client/suite_2"), find("server/suite_2")
        del client["config"]["mlkem_seed"]
        self.demand(client, "lacks the 64 random bytes")
        del server["config"]["encapsulation"]
        self.demand(server, "lacks the encapsulation")

    def test_a_body_without_a_form_in_json(self) -> None:
        deep = b"\x91" * 600 + b"\x90"
        body = (b"\x95\0\0\1\xa1k" + deep).hex()
        case = {"kind": "body", "id": "x", "frame": "RESULT", "body": body}
        self.demand(case, "recursion")
        for data in (b"\xcb\x7f\xf0" + bytes(6), b"\x81\x01\x02", b"\xc7\x01\x05\0",
                     b"\x81\xa4$hex\xa200"):  # fmt: skip
            body = b"\x95\0\0\1\xa1k" + data
            case = {"kind": "body", "id": "x", "frame": "RESULT", "body": body.hex()}
            self.demand(case, "no JSON form")

    def test_a_fault_of_ours_is_a_line_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(_case: object) -> None:
            raise ZeroDivisionError("oops")

        monkeypatch.setattr(runner, "run_keys", broken)
        told = answer(find("keys/suite_1"))
        error = {"type": "internal", "message": "ZeroDivisionError: oops"}
        assert told == {"id": "keys/suite_1", "error": error}

    @staticmethod
    def demand(case: Case, complaint: str) -> None:
        told = answer(case)
        assert told.keys() == {"id", "error"}
        assert told["id"] == case["id"]
        assert told["error"]["type"] == "bad_case"
        assert complaint in told["error"]["message"]


def test_trees_there_and_back() -> None:
    value = {"a": [1, -1, 0.5, True, None, "é"], "b": b"\0\xff", "c": {"d": [b""]}}
    assert from_tree(to_tree(value)) == value
    assert to_tree((1, b"x")) == [1, {"$hex": "78"}]
    with pytest.raises(CaseError, match="a complex inside"):
        to_tree(1j)


class TestReasons:
    """Each sentence with which the protocol refuses something has its word."""

    def test_no_sentence_is_left_out(self) -> None:
        sentences = list(protocol_sentences())
        assert len(sentences) > 80
        sentences.remove("{} of {} bytes")  # of a hello, whose name is filled in
        unlisted = [sentence for sentence in sentences if reason_of(sentence) is None]
        assert unlisted == [], "give these a word in protocol/conformance/reasons.py"

    def test_an_unlisted_sentence_says_so(self) -> None:
        told = refusal_of(LocalProtocolError("something entirely new"))
        assert (told.side, told.reason, told.close_code) == ("local", "unlisted", None)


class TestDocumentation:
    PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "conformance.md").read_text("utf-8")

    def test_it_names_every_reason(self) -> None:
        _, _, refusals = self.PAGE.partition("## Refusals")
        assert [reason for reason in Reason if f"`{reason}`" not in refusals] == []

    def test_it_names_every_file(self) -> None:
        assert [name for name in FILES if f"`{name}`" not in self.PAGE] == []

    def test_its_example(self) -> None:
        [line] = re.findall(r"echo '(.*)' \|", self.PAGE)
        assert pipe([line.encode()]) == [{"id": "mine", "answer": {"body": "9203cd2ee0"}}]


def protocol_sentences() -> Iterator[str]:
    """What the modules of `protocol` pass to their errors, with {} for what is filled in."""
    errors = {"RemoteProtocolError", "LocalProtocolError", "TruncatedError", "UnsupportedSuiteError",
              "BodyError"}  # fmt: skip
    folder = Path(next(iter(cocoon_sdk.protocol.__path__)))
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in errors:
                    yield from sentence(first)
                case ast.Call(func=ast.Name(id="_require"), args=[_, text]):
                    yield from sentence(text)
                case ast.FunctionDef(name=name) if name.endswith("_fault"):
                    for inner in ast.walk(node):
                        if isinstance(inner, ast.Return) and inner.value is not None:
                            yield from sentence(inner.value)


def sentence(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in parts)
        case ast.IfExp(body=one, orelse=other):
            yield from sentence(one)
            yield from sentence(other)

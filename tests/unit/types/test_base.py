from __future__ import annotations

import dataclasses
import json

import pytest

from cocoon_sdk.types.chat import ChatMessage, Choice, ChoiceDelta


def test_replies_are_frozen_and_become_plain_data() -> None:
    choice = Choice(
        index=0,
        message=ChatMessage(role="assistant", content="hé", extra={"tone": "calm"}),
        finish_reason="stop",
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        choice.index = 1  # type: ignore[misc]
    assert json.loads(choice.to_json()) == {
        "index": 0,
        "message": {"role": "assistant", "content": "hé", "tone": "calm"},
        "finish_reason": "stop",
    }


def test_nested_values_become_plain() -> None:
    delta = ChoiceDelta(
        content="x",
        extra={"raw": b"\x01\xff", "list": [ChoiceDelta(role="user")], "map": {"a": (1,)}},
    )
    plain = {"content": "x", "raw": "01ff", "list": [{"role": "user"}], "map": {"a": [1]}}
    assert delta.to_dict() == plain
    assert json.loads(ChoiceDelta(extra={"more": delta}).to_json()) == {"more": plain}


def test_an_unknown_field_never_hides_a_known_one() -> None:
    assert ChoiceDelta(content="x", extra={"content": "y"}).to_dict() == {"content": "x"}


def test_absent_values_are_left_out() -> None:
    assert ChoiceDelta(content="x").to_dict() == {"content": "x"}

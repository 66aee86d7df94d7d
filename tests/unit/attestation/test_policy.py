from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from attestation_world import IMAGE_ID, MRTD, RTMRS, image, policy

from cocoon_sdk.attestation.policy import AttestationPolicy, load_policy
from cocoon_sdk.errors import ConfigError

IMAGE = {
    "id": IMAGE_ID.hex(), "mrtd": MRTD.hex(), "rtmr1": RTMRS[1].hex(), "rtmr2": RTMRS[2].hex(),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": []}, "pin at least one image"),
        ({"tcb": []}, "tcb is empty"),
        ({"tcb": ["Revoked"]}, "tcb status 'Revoked'"),
        ({"tcb": ["uptodate"]}, "tcb status 'uptodate'"),
        ({"max_lifetime": 0}, "above 0"),
        ({"min_tcb_evaluation": -1}, "at least 0"),
    ],
)
def test_a_policy_that_cannot_be_meant(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        policy(**changes)


@pytest.mark.parametrize("field", ["id", "mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"])
def test_measurements_have_one_form(field: str) -> None:
    for wrong in ("", "ab", "AB" * (32 if field == "id" else 48), b"x" * 48, "ab" * 100):
        with pytest.raises(ConfigError, match=f"{field} of a trusted image"):
            image(**{field: wrong})


def test_what_an_image_leaves_open_is_told() -> None:
    assert image().open_registers == ("rtmr0", "rtmr3")
    assert image(rtmr0="ab" * 48).open_registers == ("rtmr3",)


def test_a_policy_cannot_be_changed_afterwards() -> None:
    images = [image()]
    made = AttestationPolicy(images=images, tcb="OutOfDate")
    images.clear()
    assert made.images == (image(),)
    assert made.tcb == ("OutOfDate",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.fresh = True  # type: ignore[misc]


def test_a_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"images": [IMAGE], "fresh": True, "tcb": ["OutOfDate"]}))
    assert load_policy(path) == policy(fresh=True, tcb=["OutOfDate"])
    path.write_text(json.dumps({"images": [IMAGE]}))
    assert load_policy(path) == policy()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "policy.json"),
        ("[" * 100_000, "policy.json"),
        (json.dumps({"images": []}), "pin at least one image"),
        (json.dumps({}), "images"),
        (json.dumps({"images": [IMAGE | {"rtmr_3": "ab" * 48}]}), "rtmr_3"),
        (json.dumps({"images": [IMAGE], "frsh": True}), "frsh"),
        (json.dumps({"images": [IMAGE | {"mrtd": "xyz"}]}), "mrtd of a trusted image"),
        (json.dumps({"images": [IMAGE | {"mrtd": 5}]}), "mrtd"),
        (" " * (256 * 1024 + 1), "larger than"),
    ],
)
def test_a_policy_file_that_is_not_one(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=says):
        load_policy(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(tmp_path / "nowhere.json")

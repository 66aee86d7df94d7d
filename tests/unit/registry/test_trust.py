from pathlib import Path

import pytest
from registry_world import make_keys

from cocoon_sdk.errors import ConfigError
from cocoon_sdk.keys import format_public_key
from cocoon_sdk.registry.trust import PinnedRoot, TrustKeys, parse_trust

KEYS = make_keys("trust", 5)
TEXTS = [format_public_key(key.public_key) for key in KEYS]


@pytest.mark.parametrize(("count", "majority"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_the_default_is_a_strict_majority(count: int, majority: int) -> None:
    trust = parse_trust(TEXTS[:count])
    assert isinstance(trust, TrustKeys)
    assert trust.threshold == majority


def test_one_text_with_commas_as_in_the_environment() -> None:
    assert parse_trust(", ".join(TEXTS)) == parse_trust(TEXTS)


def test_a_pinned_root_as_bytes_path_and_text(tmp_path: Path) -> None:
    path = tmp_path / "root.json"
    path.write_bytes(b"{}")
    assert parse_trust(b"{}") == parse_trust(path) == parse_trust(str(path)) == PinnedRoot(b"{}")


def test_the_id_depends_on_keys_and_threshold_not_on_order() -> None:
    assert parse_trust(TEXTS[:3]).id == parse_trust(TEXTS[2::-1]).id
    assert parse_trust(TEXTS[:3]).id != parse_trust(TEXTS[:3], 1).id
    assert parse_trust(TEXTS[:2]).id != parse_trust(TEXTS[:3], 2).id


@pytest.mark.parametrize(
    ("trust", "threshold"),
    [
        ([], None),
        ("", None),
        ("ed25519:00", None),
        ([TEXTS[0], TEXTS[0]], None),
        (TEXTS, 0),
        (TEXTS, 6),
        ("/nonexistent/root.json", None),
        (b"{}", 1),
        (["ed25519:" + "00" * 32], None),
    ],
)
def test_impossible_trust(trust: list[str] | str | bytes, threshold: int | None) -> None:
    with pytest.raises(ConfigError):
        parse_trust(trust, threshold)


def test_no_keys_at_all_are_told_from_a_wrong_threshold() -> None:
    with pytest.raises(ConfigError, match="empty"):
        parse_trust([])


def test_a_pinned_file_is_capped(tmp_path: Path) -> None:
    path = tmp_path / "root.json"
    path.write_bytes(b" " * (512 * 1024 + 1))
    with pytest.raises(ConfigError, match="above"):
        parse_trust(path)


def test_a_root_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.json", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"{path}: {why}"):
            parse_trust(path)

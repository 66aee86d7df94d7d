"""Where files live, for each combination of the environment's variables."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from cocoon_sdk.settings import cache_dir, state_dir


@pytest.mark.parametrize(
    ("home", "cache", "state_is", "cache_is"),
    [
        ("/h", None, "/h", "/h/cache"),
        ("/h", "/c", "/h", "/c"),
        ("~/h", "~/c", "$/h", "$/c"),
        (None, "/c", platformdirs.user_data_dir("cocoon"), "/c"),
        (None, None, platformdirs.user_data_dir("cocoon"), platformdirs.user_cache_dir("cocoon")),
        ("", "", platformdirs.user_data_dir("cocoon"), platformdirs.user_cache_dir("cocoon")),
    ],
)
def test_environment_before_the_platforms_folders(
    monkeypatch: pytest.MonkeyPatch,
    home: str | None,
    cache: str | None,
    state_is: str,
    cache_is: str,
) -> None:
    for name, value in (("COCOON_HOME", home), ("COCOON_CACHE", cache)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    expected = [Path(text.replace("$", str(Path.home()))) for text in (state_is, cache_is)]
    assert [state_dir(), cache_dir()] == expected


def test_asking_makes_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COCOON_HOME", str(tmp_path / "new"))
    state_dir()
    cache_dir()
    assert not (tmp_path / "new").exists()

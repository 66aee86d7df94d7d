"""Where files live. All state is under `COCOON_HOME` when that is set, else the platform's folders."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP = "cocoon"


def state_dir() -> Path:
    """Keys, ledgers and configuration: `$COCOON_HOME` or the platform's data folder."""
    home = os.environ.get("COCOON_HOME")
    return Path(home).expanduser() if home else Path(platformdirs.user_data_dir(APP))


def cache_dir() -> Path:
    """What can be made again (models, registry copies).

    `$COCOON_CACHE`, else `$COCOON_HOME/cache`, else the platform's cache folder.
    """
    cache = os.environ.get("COCOON_CACHE")
    if cache:
        return Path(cache).expanduser()
    home = os.environ.get("COCOON_HOME")
    return Path(home).expanduser() / "cache" if home else Path(platformdirs.user_cache_dir(APP))

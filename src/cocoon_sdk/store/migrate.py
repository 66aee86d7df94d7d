"""Brings a database to the schema of this program, or refuses it.

A migration tree is a folder of Alembic revisions inside a package, named `package:folder`. The client's
ledger and the provider's have a tree each and never share a database.
"""

from __future__ import annotations

import logging
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from cocoon_sdk.errors import StoreError
from cocoon_sdk.store.backup import back_up
from cocoon_sdk.store.engine import sqlite_file

logger = logging.getLogger("cocoon_sdk.store")


def migrate(connection: Connection, migrations: str) -> None:
    """Apply what is missing, inside the transaction that `connection` is in.

    A SQLite file that has a schema already is copied first, to `<file>.<revision>.bak`.

    Raises:
        StoreError: the database was written by a newer version of this program, or for another purpose;
            or the copy cannot be made.
    """
    package, _, folder = migrations.partition(":")
    config = Config()
    config.set_main_option("path_separator", "newline")  # paths may hold spaces and colons
    config.set_main_option("script_location", _path("cocoon_sdk.store", "environment"))
    config.set_main_option("version_locations", _path(package, folder))
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    known = {revision.revision for revision in script.walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise StoreError(
            f"the database has schema {current!r}, which this version does not know; it was written "
            "by a newer version or for another purpose: upgrade cocoon-sdk, or name another database"
        )
    if current != script.get_current_head():
        file = sqlite_file(connection)
        if current is not None and file is not None:
            logger.warning(
                "the schema of %s changes; a copy is in %s", file, back_up(file, current)
            )
        command.upgrade(config, "head")


def _path(package: str, folder: str) -> str:
    return str(files(package) / folder).replace("%", "%%")  # the configuration interpolates

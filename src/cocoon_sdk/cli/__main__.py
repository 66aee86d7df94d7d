"""`python -m cocoon_sdk.cli`: the same as the `cocoon` command."""

from cocoon_sdk.cli import entry

entry()

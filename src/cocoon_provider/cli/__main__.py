"""`python -m cocoon_provider.cli`: the same as the `cocoon-provider` command."""

from cocoon_provider.cli import entry

entry()

"""The `cocoon-provider` command."""

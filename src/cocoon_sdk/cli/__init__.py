"""The `cocoon` command."""

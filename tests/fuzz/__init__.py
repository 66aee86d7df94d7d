"""Parsers under random and hostile input: the same targets for the quick slice and for atheris."""

"""Revisions of the client's tables, applied by `cocoon_sdk.store`. A released revision never changes."""

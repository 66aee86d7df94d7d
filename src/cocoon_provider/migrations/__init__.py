"""Revisions of the provider's tables, applied by `cocoon_sdk.store`. A released revision never changes."""

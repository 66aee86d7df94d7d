"""Alembic runs `env.py` here; the revisions lie in trees elsewhere."""

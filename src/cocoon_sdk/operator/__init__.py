"""Making and signing registries."""

"""The real TON transaction executor behind a toncenter-like API on loopback."""

"""Attestation: the bundle that a provider serves, the policy that a client sets, and the checks between."""

"""The signed registry file: envelopes, models and the trusted-set state machine."""

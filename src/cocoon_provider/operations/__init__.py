"""What an operator does: init, doctor, self-probes."""

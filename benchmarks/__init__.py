"""Ratios against named peers or limits, interleaved in one run. `make bench` runs them all."""

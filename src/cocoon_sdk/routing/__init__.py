"""Which provider takes a request: pure functions over snapshots."""

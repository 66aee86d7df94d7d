"""Long runs: mutations of the source, and what keeps them honest."""

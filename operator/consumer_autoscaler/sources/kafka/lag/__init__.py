"""From offsets to lag: what counts, what is doubted, and what is told about it."""

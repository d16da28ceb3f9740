"""From a forward pass to a score, and from scores to a selection."""

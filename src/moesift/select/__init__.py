"""What becomes of scores: a selection, with a reason for each example that is left out."""

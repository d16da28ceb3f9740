"""Measuring a tuned target: lm-eval's tasks, and the loss on held-out examples."""

"""Measuring a tuned target: the tasks of lm-eval, and the loss on held-out examples."""

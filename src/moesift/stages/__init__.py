"""One short file a stage: read inputs, call pure functions, write outputs. Run one with `python -m moesift.stages.NAME`."""

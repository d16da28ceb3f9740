"""One short file a stage: read inputs, call pure functions, write outputs. `python -m moesift.stages.NAME --help`."""

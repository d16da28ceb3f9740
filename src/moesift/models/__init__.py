"""The models: how they are loaded, read, extended and kept; messages to tokens to batches."""

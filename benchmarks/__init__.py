"""The speed of moesift compared with the code that one would write first: `make bench`."""

"""What moesift's speed is worth beside what one would write first: `make bench`."""

"""Not merged yet."""

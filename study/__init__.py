"""Studies: users of moesift that run several experiments of its workflow and compare them."""

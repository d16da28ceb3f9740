"""The pool: where its rows come from, what becomes of them, and what is wrong with some on purpose."""

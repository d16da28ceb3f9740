"""Decide which part of an instruction pool is worth training on."""

__version__ = "0.2.0"

"""Train only the routers of a Mixture-of-Experts model, and let them say which data is worth training on."""

__version__ = "0.1.0"

"""The methods that score a pool: every function that a file of this folder declares (see `declaration.py`)."""

import importlib
import pkgutil

from moesift.methods.declaration import METHODS, N_TOKENS, REFUSED, Column, Method, method, parameters_of

for _file in sorted(pkgutil.iter_modules(__path__), key=lambda file: file.name):
    importlib.import_module(f"{__name__}.{_file.name}")

__all__ = ["METHODS", "N_TOKENS", "REFUSED", "Column", "Method", "method", "parameters_of"]

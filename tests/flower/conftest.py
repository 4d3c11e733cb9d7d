"""Tests of what imports Flower: for a Python that has it, as build/environments/flower has.

`tests/integration/test_flower.py` runs them there.
"""

import importlib.util

if importlib.util.find_spec("flwr") is None:
    collect_ignore_glob = ["test_*.py"]

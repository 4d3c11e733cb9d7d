"""What tests have in common; fixtures are in each folder's `conftest.py`."""

from pathlib import Path

SUPPORT = Path(__file__).parent

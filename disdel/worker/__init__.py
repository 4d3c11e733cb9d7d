"""The action side of a run: what each kind of activation does with the store and a framework."""

import os

# Read when numpy is imported, which nothing here multiplies matrices with: each further thread of
# its OpenBLAS would spin for tens of milliseconds at a cold start before it goes to sleep.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

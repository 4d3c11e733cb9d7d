"""Data sets of the TFDS catalog, read in a process of their own."""

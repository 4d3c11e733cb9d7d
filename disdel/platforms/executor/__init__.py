"""Anything with `submit(f, *args) -> Future`: a process pool, loky, Dask, Parsl, Globus Compute."""

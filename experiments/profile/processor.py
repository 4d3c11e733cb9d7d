"""What this processor can do, on one thread and on all: matrix products and copies.

Prints one JSON object. Products of 1024×1024 fit the caches and are what libraries are best at, so
they bound what a training step can reach; copies of 256 MB do not fit any cache.
"""

import json
import math
import multiprocessing
import os
import time

SIZE = 1024
COPIED_BYTES = 256 << 20
SECONDS = 1.0


def fastest(work) -> float:
    """CPU seconds of the fastest call of `work` within about a second, as steps are measured."""
    least, until = math.inf, time.process_time() + SECONDS
    while time.process_time() < until:
        began = time.process_time()
        work()
        least = min(least, time.process_time() - began)
    return least


def measured(_: int) -> dict[str, float]:
    """GFLOP/s of products and GB/s of copies (read and written) on one thread."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    found = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        left = torch.randn(SIZE, SIZE).to(dtype)
        out = torch.empty_like(left)
        found[f"{name}_gflops"] = (
            2 * SIZE**3 / fastest(lambda a=left, o=out: torch.mm(a, a, out=o)) / 1e9
        )
    source = np.ones(COPIED_BYTES // 8)
    target = source.copy()
    found["copy_gb_s"] = 2 * COPIED_BYTES / fastest(lambda: np.copyto(target, source)) / 1e9
    return found


def main() -> None:
    cpus = len(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as alone:
        [one] = alone.map(measured, [0])
    with spawn.Pool(cpus) as pool:
        every = pool.map(measured, range(cpus), chunksize=1)
    together = {name: sum(each[name] for each in every) for name in one}
    print(json.dumps({"cpus": cpus, "one_thread": one, "all_at_once": together}))


if __name__ == "__main__":
    main()

"""Does a plan's memory fit? disdel's scheduler on many configurations, and the same jobs by hand.

    python experiments/memory/run.py path/to/folder/of/data [--only PATTERN] [--modes MODE …]

The folder holds `mnist.npz`, `cifar10-images.zip` and `binary_alpha_digits.npz`. Every run is
written to the results as soon as it has ended, and a run that is there already is not repeated: an
interrupted benchmark goes on where it was, and it can be done in pieces. Writes `results.json`
(every measurement) and `results.md` (the tables) beside this file.
"""

import argparse
import fnmatch
import json
import os
import platform
import sys
import sysconfig
import tempfile
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import by_hand
import with_disdel
from configurations import Configuration, all_configurations, prepare
from tables import slowdown, tables
from with_disdel import Way

import disdel
from disdel.runtimes.registry import all_runtimes
from disdel.types import RuntimeName

HERE = Path(__file__).parent
# TensorFlow imports JAX where it is installed, which takes memory.
PACKAGES = ("tensorflow-cpu", "keras", "numpy", "redis", "jax", "torch")
BY_HAND_MODES = ("sap", "frugal", "brute", "single", "brute-lean", "single-lean")
MODES = ("new", "learned", "unlimited", *BY_HAND_MODES)
# Where a run looks so much slower than without a limit, both run again, so many times at most. What
# thrashes does so every time, and what had a neighbour does not.
SUSPICIOUS_SLOWDOWN = 1.10
REPEATS_AT_MOST = 9
# Leave a running platform, a cluster and a Redis of the user alone.
FOREIGN_SETTINGS = ("DISDEL_APIHOST", "DISDEL_REDIS")


class Results:
    """Every run so far, in a file that is written after each."""

    def __init__(self, path: Path, runtime: str) -> None:
        self._path = path
        self.machine = {**_machine(), "runtime": runtime}
        self.runs: list[dict] = []
        if path.is_file():
            stored = json.loads(path.read_text())
            if stored["machine"] != self.machine:
                sys.exit(f"{path} is of another machine, version or runtime: move it away first")
            self.runs = stored["runs"]

    def find(self, configuration: str, mode: str, repeat: int = 0) -> dict | None:
        key = (configuration, mode, repeat)
        return next(
            (r for r in self.runs if (r["configuration"], r["mode"], r["repeat"]) == key), None
        )

    def add(self, run: dict) -> None:
        self.runs.append(run)
        scratch = self._path.with_suffix(".tmp")
        scratch.write_text(json.dumps({"machine": self.machine, "runs": self.runs}, indent=1))
        scratch.replace(self._path)


class Benchmark:
    """Runs what is asked for and is not in the results yet."""

    def __init__(
        self, results: Results, work: Path, modes: tuple[str, ...], runtime: RuntimeName | None
    ) -> None:
        self._results = results
        self._runtime = runtime
        self._data_dir = work / "data"
        self._scratch = work / "run"
        self._modes = modes
        self._all = all_configurations()
        # All of them can be mapped by a container; listed once, the folder does not change.
        self._libraries = sorted(Path(sysconfig.get_path("platlib")).resolve().rglob("*.so*"))

    def run(self, configuration: Configuration) -> None:
        for mode in MODES:
            if mode in self._modes:
                self._once(configuration, mode)
        for repeat in range(1, REPEATS_AT_MOST + 1):
            suspicious = self._suspicious(configuration)
            if not suspicious:
                break
            for mode in (*suspicious, "unlimited"):
                if mode in self._modes:
                    self._once(configuration, mode, repeat)

    def _suspicious(self, configuration: Configuration) -> list[str]:
        """The modes whose steps look slowed down by their limit."""
        runs = self._results.runs
        return [
            mode
            for mode in ("new", "learned")
            if (slowdown(runs, configuration.name, mode) or 0) > SUSPICIOUS_SLOWDOWN
        ]

    def _once(self, configuration: Configuration, mode: str, repeat: int = 0) -> None:
        if self._results.find(configuration.name, mode, repeat) is not None:
            return
        if mode in BY_HAND_MODES and not configuration.by_hand:
            return
        load = os.getloadavg()[0]
        began_s = time.perf_counter()
        measured = self._measure(configuration, mode)
        if measured is None:
            return
        run = {
            "configuration": configuration.name,
            "mode": mode,
            "repeat": repeat,
            "load_before": round(load, 2),
            "read_ahead_kb": _read_ahead_kb(self._libraries[0]),
            **measured,
        }
        self._results.add(run)
        print(
            f"{configuration.name:32} {mode:9} {run['status']:8} "
            f"{time.perf_counter() - began_s:6.1f} s  limit {run.get('memory_mb') or '-':>5} MB  "
            f"working set {run.get('working_set_mb') or '-':>5} MB  "
            f"killed {run.get('killed', '-')}",
            flush=True,
        )

    def _measure(self, configuration: Configuration, mode: str) -> dict | None:
        """None where the mode needs the outcome of another one that is not there."""
        places = (self._data_dir, self._scratch)
        samples = "arrays" if mode.endswith("-lean") else "pipeline"
        if mode.startswith("brute"):
            return by_hand.brute_force(configuration, *places, self._evict_libraries, samples)
        if mode.startswith("single"):
            brute = self._results.find(configuration.name, mode.replace("single", "brute"))
            if brute is None or brute["status"] != "ok":
                return None
            memory_mb = brute["memory_mb"]
            return by_hand.single(configuration, *places, self._evict_libraries, samples, memory_mb)
        way = self._way(configuration, mode)
        if way is None:
            return None
        self._evict_libraries()
        return with_disdel.run(configuration, way, *places)

    def _way(self, configuration: Configuration, mode: str) -> Way | None:
        way = Way(runtime=self._runtime)
        match mode:
            case "learned":
                return replace(way, history=self._history(configuration))
            case "sap":
                return replace(way, estimator="sap")
            case "frugal":
                return replace(way, optimize="memory", any_workers=True)
            case "unlimited":
                # With the same history the plan is the same.
                if self._planned(configuration, "learned"):
                    return replace(way, history=self._history(configuration), unlimited=True)
                if self._planned(configuration, "new"):
                    return replace(way, unlimited=True)
                return None
            case _:
                return way

    def _history(self, configuration: Configuration) -> tuple[dict, ...]:
        """What the configurations before this one left, and its own run without history."""
        observed: list[dict] = []
        for earlier in self._all:
            done = earlier.name == configuration.name
            for mode in ("new",) if done else ("new", "learned"):
                run = self._results.find(earlier.name, mode)
                observed += run["observed"] if run is not None else []
            if done:
                break
        return tuple(observed)

    def _planned(self, configuration: Configuration, mode: str) -> bool:
        run = self._results.find(configuration.name, mode)
        return run is not None and "memory_mb" in run

    def _evict_libraries(self) -> None:
        """Drop the frameworks' libraries from the page cache, as far as no process has them mapped.

        The kernel charges a library's page to the container that reads it in. Without this, the
        pages would be charged to a container of an earlier run, and limits would be held against
        less than a container on a fresh machine needs.
        """
        for library in self._libraries:
            with library.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read_ahead_kb(path: Path) -> int | None:
    """How much the kernel reads around a page of the file that is not in memory.

    All of it is charged to the container that needed the page. None where it cannot be told.
    """
    device = path.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    for folder in (block, block.parent):  # a disk, or the disk of a partition
        queue = folder / "queue" / "read_ahead_kb"
        if queue.is_file():
            return int(queue.read_text())
    return None


def _machine() -> dict[str, object]:
    return {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "system": platform.platform(),
        "python": platform.python_version(),
        "disdel": disdel.__version__,
        **{package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, help="the folder of the data sets' files")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="configurations, as a glob")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument(
        "--runtime", choices=("auto", *(runtime.name for runtime in all_runtimes())), default="auto"
    )
    parser.add_argument("--work", type=Path, help="imported data, kept from call to call")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--list", action="store_true", help="list the configurations and end")
    options = parser.parse_args()
    chosen = [c for c in all_configurations() if fnmatch.fnmatch(c.name, options.only)]
    if options.list:
        print("\n".join(configuration.name for configuration in chosen))
        return
    for name in FOREIGN_SETTINGS:
        os.environ.pop(name, None)
    os.environ["WSK_CONFIG_FILE"] = os.devnull
    with tempfile.TemporaryDirectory() as scratch:
        work = (options.work or Path(scratch)).absolute()
        prepare(chosen, options.files, work / "data")
        results = Results(options.results, options.runtime)
        runtime = None if options.runtime == "auto" else options.runtime
        benchmark = Benchmark(results, work, tuple(options.modes), runtime)
        began_s = time.perf_counter()
        for number, configuration in enumerate(chosen, 1):
            print(
                f"[{number}/{len(chosen)}] {configuration.name}, "
                f"after {(time.perf_counter() - began_s) / 60:.1f} min",
                flush=True,
            )
            benchmark.run(configuration)
    text = tables(results.machine, results.runs)
    options.results.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

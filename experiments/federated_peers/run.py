"""Rounds of disdel, Flower's simulation and pfl-research, in turn on one machine.

    python experiments/federated_peers/run.py --work DIR --mnist mnist.npz --cifar10 images.zip

Each repeat runs every contender once, one after the other. Every result is written at once; a run
that was interrupted goes on where it stopped, and `--pieces N` stops by itself after N contenders.
`--only NAME ...` selects contenders by a part of their label, `--table` makes results.md again from
results.json and measures nothing. Flower and pfl-research get environments of their own under DIR.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from settings import SETTINGS

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))
from watched import run_watched  # noqa: E402 - it lies beside another experiment

TORCH = "torch=={torch}"
FLOWER_PACKAGES = ("flwr[simulation]==1.41.0", TORCH, "numpy=={numpy}")
PFL_PACKAGES = ("pfl[pytorch]==0.6.0", TORCH, "numpy=={numpy}")
PACKAGES = ("torch", "numpy", "tensorflow-cpu")
# The first round starts things, and the last one of disdel is scored.
ROUNDS = {"fedkeeper": 3, "pfl": 6}
# Runtimes, by what they are called here.
DISDEL = {"disdel": "torch", "disdel, compiled": "compiled", "disdel, TensorFlow": "tensorflow"}
# Others than PyTorch's: that of the least memory, and that of the least time.
OTHERS = ("disdel, compiled", "disdel, TensorFlow")
NAMES = ("bare", "disdel", "Flower", "pfl", "pfl, 2 processes")
# A later round of disdel takes at most so much of another's.
LIMITS = {
    "fedkeeper": {"Flower": 0.65, "pfl": 0.5, "bare": 1.1},
    "pfl": {"Flower": 0.5, "pfl": 1.0, "bare": 1.1},
}


@dataclass(frozen=True)
class Goal:
    """A later round of `mine` takes at most `limit` of one of `peer`."""

    setting: str
    mine: str
    peer: str
    limit: float


GOALS = tuple(
    Goal(setting, mine, peer, limit)
    for setting in SETTINGS
    for mine in ("disdel", *OTHERS)
    for peer, limit in LIMITS[setting].items()
    if peer != "bare" or mine == "disdel"
)


@dataclass(frozen=True)
class Contender:
    """One way to run a setting."""

    setting: str
    name: str

    @property
    def label(self):
        return f"{self.setting} {self.name}"


def contenders(options):
    found = [Contender(setting, name) for setting in SETTINGS for name in (*NAMES, *OTHERS)]
    return [one for one in found if not options.only or any(o in one.label for o in options.only)]


def command(one, repeat, options):
    """The whole command of a contender; its result is the last line printed, or a report."""
    rounds, work = ROUNDS[one.setting], options.work
    if one.name in DISDEL:
        return disdel(one, repeat, rounds)
    npz = work / f"{SETTINGS[one.setting].dataset}.npz"
    job = [one.setting, str(npz), "--rounds", str(rounds), "--seed", str(repeat)]
    if one.name == "bare":
        return [sys.executable, str(HERE / "bare_job.py"), *job]
    if one.name == "Flower":
        return [str(work / "flower/bin/python"), str(HERE / "flower_job.py"), *job]
    python = str(work / "pfl/bin/python")
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [python, *(together if one.name != "pfl" else []), str(HERE / "pfl_job.py"), *job]


def disdel(one, repeat, rounds):
    setting = SETTINGS[one.setting]
    runtime = DISDEL[one.name]
    file = "networks.py" if runtime == "torch" else "keras_networks.py"
    network = f"{HERE / file}:{setting.network}"
    return [
        *(sys.executable, "-m", "disdel", "federate", setting.dataset, "--model", network),
        *("--runtime", runtime, "--partition", setting.partition, "--seed", str(repeat)),
        *("--clients", str(setting.clients), "--clients-per-round", str(setting.cohort)),
        *("--local-epochs", str(setting.epochs), "--batch", str(setting.batch)),
        *("--optimizer", "sgd", "--learning-rate", str(setting.rate)),
        *("--rounds", str(rounds), "--validate-every", str(rounds), "--quiet", "--json", "-"),
    ]


def environ_of(options):
    return os.environ | {
        "DISDEL_DATA_DIR": str(options.work / "data"),
        "DISDEL_RUN_DIR": str(options.work / "runs"),
        "DISDEL_STATE_DIR": str(options.work / "state"),
        "FLWR_HOME": str(options.work / "flower-home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(HERE),
    }


def prepare(options, chosen):
    """Data sets where everybody finds them, and the environments of those peers that run."""
    for dataset in sorted({SETTINGS[one.setting].dataset for one in chosen}):
        if not (options.work / "data" / dataset).is_dir():
            source = str(getattr(options, dataset).resolve())
            importing = [sys.executable, "-m", "disdel", "dataset", "import", dataset, source]
            subprocess.run(importing, env=environ_of(options), check=True)
        if not (options.work / f"{dataset}.npz").exists():
            pack(dataset, options.work)
    names = {one.name.partition(",")[0] for one in chosen}
    if "Flower" in names:
        make_environment(options.work / "flower", FLOWER_PACKAGES)
    if "pfl" in names:
        make_environment(options.work / "pfl", PFL_PACKAGES)


def pack(dataset, work):
    """The imported training samples as the arrays that the peers read."""
    from disdel.data import load_arrays

    arrays = load_arrays(dataset, work / "data")
    scratch = work / f"{dataset}-part.npz"
    np.savez(scratch, x_train=arrays.train_x, y_train=arrays.train_y)
    scratch.rename(work / f"{dataset}.npz")


def make_environment(folder, packages):
    """A virtual environment with these packages, unless it is there already."""
    if (folder / "ready").exists():
        return
    print(f"making {folder}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    versions = {package: version(package) for package in PACKAGES}
    wanted = [package.format(**versions) for package in packages]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *wanted], check=True)
    (folder / "ready").write_text("\n".join(wanted) + "\n")


def measure(one, repeat, options):
    """One run as a row of the results."""
    load_before = os.getloadavg()[0]
    done = run_watched(command(one, repeat, options), environ_of(options), cwd=options.work)
    if done.returncode != 0:
        sys.exit(f"{one.label} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    if one.name in DISDEL:
        report = json.loads(done.stdout)
        rounds_s, later_s = disdel_rounds(report)
        more = disdel_facts(report, SETTINGS[one.setting])
    else:
        # Peers print other things before.
        rounds_s = json.loads(done.stdout.strip().splitlines()[-1])["rounds_s"]
        later_s, more = rounds_s[1:], {}
    return {
        "setting": one.setting,
        "name": one.name,
        "repeat": repeat,
        "first_round_s": round(rounds_s[0], 3),
        "later_rounds_s": [round(s, 3) for s in later_s],
        "peak_pss_mb": round(done.peak_pss_mb, 1),
        "wall_s": round(done.wall_s, 3),
        "load_before": load_before,
        **more,
    }


def disdel_rounds(report):
    """Seconds of all rounds, and of later ones without the last, which is scored too."""
    rounds_s = [one["wall_s"] for one in report["rounds"]]
    return rounds_s, rounds_s[1:-1]


def disdel_facts(report, setting):
    """What disdel's report says of a later round: how much of it containers took steps."""
    last = len(report["rounds"])
    containers = report["plan"]["workers"]
    shares = []
    for one in report["rounds"][1:-1]:
        training_s = [0.0] * containers
        for row in report["ledger"]:
            if row["round"] == one["round"]:
                training_s[row["worker"]] += row["train_s"]
        shares.append(max(training_s) / one["wall_s"])
    assert sum(row["round"] == last for row in report["ledger"]) == setting.cohort
    return {
        "containers": containers,
        "memory_mb": report["plan"]["memory_mb"],
        "failed": report["totals"]["failed"],
        "steps_share": [round(share, 3) for share in shares],
    }


def conditions():
    """Where it was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    return {
        "cpus": os.cpu_count(),
        "processor": model,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "peers": [FLOWER_PACKAGES[0], PFL_PACKAGES[0]],
        "rounds": ROUNDS,
    }


def load(options):
    """The results so far; they are of the same machine and versions, or refused."""
    path, here = options.results, conditions()
    if not path.exists():
        return {"conditions": here, "runs": []}
    results = json.loads(path.read_text())
    if results["conditions"] != here:
        sys.exit(f"{path} is of another machine or version; name another file with --results")
    return results


def save(path, results):
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(results, indent=1) + "\n")
    scratch.replace(path)
    path.with_suffix(".md").write_text(tables(results))


def tables(results):
    """`results.md`."""
    found = by_contender(results["runs"])
    text = "# Results\n\nMade from the JSON file beside it: medians, in brackets the range.\n"
    for setting in SETTINGS:
        rows = [
            f"| {name} | {len(runs)} | {median_and_range(later_of(runs))} "
            f"| {median_and_range([run['first_round_s'] for run in runs])} "
            f"| {median_and_range([run['peak_pss_mb'] for run in runs], 0)} |"
            for (of, name), runs in found.items()
            if of == setting
        ]
        if rows:
            text += f"\n## {setting}\n\n| | runs | later round, s | first round, s | memory, MB |\n"
            text += "| --- | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    lines = [line for goal in GOALS if (line := goal_line(goal, found))]
    if lines:
        text += "\n## Goals\n\n| setting | ratio of later rounds | goal | median | by repeat | "
        text += "by the least rounds |\n"
        text += "| --- | --- | --- | --- | --- | --- |\n" + "\n".join(lines) + "\n"
    return text


def by_contender(runs):
    found = {}
    for run in runs:
        found.setdefault((run["setting"], run["name"]), []).append(run)
    return found


def later_of(runs):
    return [s for run in runs for s in run["later_rounds_s"]]


def median_and_range(values, digits=2):
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def goal_line(goal, found):
    mine, peer = (found.get((goal.setting, name)) for name in (goal.mine, goal.peer))
    if not mine or not peer:
        return None
    peers = {run["repeat"]: run for run in peer}
    ratios = [
        statistics.median(run["later_rounds_s"])
        / statistics.median(peers[run["repeat"]]["later_rounds_s"])
        for run in mine
        if run["repeat"] in peers
    ]
    if not ratios:
        return None
    least = min(later_of(mine)) / min(later_of(peer))
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return (
        f"| {goal.setting} | {goal.mine} / {goal.peer} | {goal.limit:g} "
        f"| {statistics.median(ratios):.2f} | {each} | {least:.2f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--pieces", type=int, help="stop after so many runs")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        options.results.with_suffix(".md").write_text(
            tables(json.loads(options.results.read_text()))
        )
        return
    if options.work is None:
        parser.error("--work DIR is needed")
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    chosen = contenders(options)
    results = load(options)
    done = {(run["setting"], run["name"], run["repeat"]) for run in results["runs"]}
    left = [
        (one, repeat)
        for repeat in range(options.repeats)
        for one in chosen
        if (one.setting, one.name, repeat) not in done
    ]
    prepare(options, [one for one, _ in left])
    for one, repeat in left[: options.pieces]:
        results["runs"].append(measure(one, repeat, options))
        save(options.results, results)
        print(results["runs"][-1], flush=True)


if __name__ == "__main__":
    main()

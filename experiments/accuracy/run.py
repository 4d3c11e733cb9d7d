"""What averaging costs a deep network in accuracy, beside plain `model.fit`: ResNet-20, CIFAR-10.

    python experiments/accuracy/run.py path/to/cifar10-images.zip [--epochs 8] [--seeds 0 1 2]

Only accuracies are compared, so it may share the machine, and `--lanes 2` runs two at a time, each
on a CPU of its own. Every run is written to `results.json` beside this file as soon as it has
ended, and one that is there is not repeated; `results.md` is made of them.
"""

import argparse
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
TABLE = HERE / "results.md"
DATASET, NETWORK, BATCH, PRECISION = "cifar10", "resnet20", 64, "bfloat16"
FIT = "model.fit"
SCALED = ("--sync", "8", "--scale-rate", "linear")
WAYS = {
    FIT: (),
    "1 worker": ("--workers", "1"),
    "2 workers": ("--workers", "2", *SCALED),
    "4 workers": ("--workers", "4", *SCALED),
}


def fit(epochs, seed, data_dir):
    """The accuracy of `model.fit` with the network, samples, batch and rate that disdel has."""
    import keras

    from disdel.data import load_arrays
    from disdel.models import built_in
    from disdel.models.builtin.keras_models import build_keras_model

    arrays = load_arrays(DATASET, Path(data_dir))
    keras.utils.set_random_seed(seed)
    spec = built_in(NETWORK, input_shape=arrays.spec.input_shape, classes=arrays.spec.classes)
    model = build_keras_model(spec)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(arrays.train_x, arrays.train_y, batch_size=BATCH, epochs=epochs, verbose=0)
    _, accuracy = model.evaluate(arrays.test_x, arrays.test_y, verbose=0)
    print(json.dumps({"accuracy": accuracy}))


def measured(way, epochs, seed, environ, folder):
    """One run."""
    if way == FIT:
        command = [sys.executable, __file__, "--fit", str(epochs), str(seed)]
    else:
        command = [
            *(sys.executable, "-m", "disdel", "train", DATASET, "--model", NETWORK),
            *("--runtime", "torch", "--precision", PRECISION, "--batch", str(BATCH)),
            *("--epochs", str(epochs), "--validate-every", "1000000", "--seed", str(seed)),
            *("--quiet", "--json", "-", *WAYS[way]),
        ]
    own = environ | {"DISDEL_STATE_DIR": f"{folder}/state-{way}-{seed}".replace(" ", "-")}
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1] if way == FIT else done.stdout)
    run = {"way": way, "epochs": epochs, "seed": seed, "accuracy": result["accuracy"]}
    if way != FIT:
        run |= {"wall_s": result["wall_s"], "rounds": len(result["rounds"])}
    return run


def table(runs):
    lines = [
        "| epochs | | seeds | accuracy, mean | beside `model.fit` | by seed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for epochs in sorted({run["epochs"] for run in runs}):
        means = {}
        for way, options in WAYS.items():
            of_way = [r for r in runs if (r["epochs"], r["way"]) == (epochs, way)]
            found = [run["accuracy"] for run in sorted(of_way, key=lambda run: run["seed"])]
            if not found:
                continue
            means[way] = statistics.mean(found)
            beside = f"{100 * (means[way] - means[FIT]):+.1f} points" if FIT in means else ""
            each = ", ".join(f"{accuracy:.4f}" for accuracy in found)
            title = f"{way} `{' '.join(options)}`" if options else way
            lines.append(
                f"| {epochs} | {title} | {len(found)} | {means[way]:.4f} | {beside} | {each} |"
            )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--lanes", type=int, default=1)
    parser.add_argument("--fit", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit:
        fit(*options.fit, os.environ["DISDEL_DATA_DIR"])
        return
    runs = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {(run["way"], run["epochs"], run["seed"]) for run in runs}
    keep = threading.Lock()
    cpus = sorted(os.sched_getaffinity(0))
    if not 1 <= options.lanes <= len(cpus):
        parser.error(f"--lanes must be from 1 to {len(cpus)}, the CPUs, not {options.lanes}")
    # Processes inherit the CPUs of the thread that starts them.
    of_lanes = queue.SimpleQueue()
    for lane in range(options.lanes):
        of_lanes.put(cpus[lane :: options.lanes])
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(
            options.lanes, initializer=lambda: os.sched_setaffinity(0, of_lanes.get())
        ) as lanes,
    ):
        environ = os.environ | {
            "DISDEL_DATA_DIR": f"{folder}/data",
            "DISDEL_RUN_DIR": f"{folder}/runs",
        }
        importing = [sys.executable, "-m", "disdel", "dataset", "import", DATASET]
        subprocess.run([*importing, str(options.images.resolve())], env=environ, check=True)

        def one(way, seed):
            run = measured(way, options.epochs, seed, environ, folder)
            with keep:
                runs.append(run)
                RESULTS.write_text(json.dumps(runs, indent=1) + "\n")
                TABLE.write_text(table(runs))
                print(run, flush=True)

        wanted = [(way, seed) for seed in options.seeds for way in options.ways]
        left = [(w, s) for w, s in wanted if (w, options.epochs, s) not in done]
        for running in [lanes.submit(one, *work) for work in left]:
            running.result()


if __name__ == "__main__":
    main()

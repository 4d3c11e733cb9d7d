"""What averaging costs in accuracy where a network takes many epochs, beside plain `model.fit`.

    python experiments/accuracy/run.py path/to/cifar10-images.zip [--epochs 3] [--seeds 0 1 2]

ResNet-20 on CIFAR-10, batch 64, learning rate along a cosine, with 1, 2 and 4 workers. Only
accuracies are compared, so it may share the machine. Every run is written to `results.json` beside
this file as soon as it has ended, and one that is there is not repeated.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
TABLE = HERE / "results.md"
DATASET, NETWORK, BATCH, SCHEDULE = "cifar10", "resnet20", 64, "cosine"
LEARNING_RATE = 1e-3
FIT = "model.fit"
WAYS = (FIT, "2 workers", "4 workers", "1 worker")


def fit(epochs, seed, data_dir):
    """The accuracy of `model.fit` with the network, samples, batch and rates that disdel has."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    from disdel.catalog.datasets import load_arrays
    from disdel.catalog.models.keras_models import build_keras_model
    from disdel.types import ModelSpec

    arrays = load_arrays(DATASET, Path(data_dir))
    keras.utils.set_random_seed(seed)
    spec = ModelSpec(name=NETWORK, input_shape=arrays.spec.input_shape, classes=arrays.spec.classes)
    model = build_keras_model(spec, input_dtype=arrays.spec.input_dtype)
    steps = epochs * -(-len(arrays.train_x) // BATCH)
    rates = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    optimizer = keras.optimizers.Adam(rates)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(arrays.train_x, arrays.train_y, batch_size=BATCH, epochs=epochs, verbose=0)
    _, accuracy = model.evaluate(arrays.test_x, arrays.test_y, verbose=0)
    print(json.dumps({"accuracy": accuracy}))


def measured(way, epochs, seed, environ):
    """One run, and its accuracy after every round where there are any."""
    if way == FIT:
        command = [sys.executable, __file__, "--fit", str(epochs), str(seed)]
    else:
        command = [
            *(sys.executable, "-m", "disdel", "train", DATASET, "--model", NETWORK),
            *("--runtime", "tensorflow", "--batch", str(BATCH), "--epochs", str(epochs)),
            *("--schedule", SCHEDULE, "--learning-rate", str(LEARNING_RATE)),
            *("--workers", way.partition(" ")[0], "--seed", str(seed), "--quiet", "--json", "-"),
        ]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1] if way == FIT else done.stdout)
    return {
        "way": way,
        "epochs": epochs,
        "seed": seed,
        "accuracy": result["accuracy"],
        "by_round": [entry["accuracy"] for entry in result.get("rounds", [])],
    }


def table(runs):
    lines = ["| epochs | | seeds | accuracy, mean | by seed |", "| --- | --- | --- | --- | --- |"]
    for epochs in sorted({run["epochs"] for run in runs}):
        for way in WAYS:
            of_way = [r for r in runs if (r["epochs"], r["way"]) == (epochs, way)]
            found = [run["accuracy"] for run in sorted(of_way, key=lambda run: run["seed"])]
            if found:
                each = ", ".join(f"{accuracy:.4f}" for accuracy in found)
                mean = statistics.mean(found)
                lines.append(f"| {epochs} | {way} | {len(found)} | {mean:.4f} | {each} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--fit", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit:
        fit(*options.fit, os.environ["DISDEL_DATA_DIR"])
        return
    runs = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    done = {(run["way"], run["epochs"], run["seed"]) for run in runs}
    with tempfile.TemporaryDirectory() as folder:
        environ = os.environ | {
            "DISDEL_DATA_DIR": f"{folder}/data",
            "DISDEL_RUN_DIR": f"{folder}/runs",
            "DISDEL_STATE_DIR": f"{folder}/state",
        }
        importing = [sys.executable, "-m", "disdel", "dataset", "import", DATASET]
        subprocess.run([*importing, str(options.images.resolve())], env=environ, check=True)
        for seed in options.seeds:
            for way in WAYS:
                if (way, options.epochs, seed) in done:
                    continue
                runs.append(measured(way, options.epochs, seed, environ))
                RESULTS.write_text(json.dumps(runs, indent=1) + "\n")
                TABLE.write_text(table(runs))
                print(runs[-1], flush=True)


if __name__ == "__main__":
    main()

"""What averaging costs in accuracy: a network that takes many epochs, beside plain `model.fit`.

    python experiments/accuracy/run.py path/to/cifar10-images.zip [--epochs 3] [--seeds 0]

ResNet-20 on CIFAR-10, batch 64, with 1, 2 and 4 workers. Only accuracies are compared, so it may
share the machine. Every run is written to `results.json` beside this file as soon as it has ended,
and one that is there is not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
DATASET, NETWORK, BATCH = "cifar10", "resnet20", 64
WORKERS = (1, 2, 4)


def fit(epochs, seed, data_dir):
    """The accuracy of `model.fit` with the network, samples and batch that disdel has."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    from disdel.catalog.datasets import load_arrays
    from disdel.catalog.models.keras_models import build_keras_model
    from disdel.types import ModelSpec

    arrays = load_arrays(DATASET, Path(data_dir))
    keras.utils.set_random_seed(seed)
    spec = ModelSpec(name=NETWORK, input_shape=arrays.spec.input_shape, classes=arrays.spec.classes)
    model = build_keras_model(spec, input_dtype=arrays.spec.input_dtype)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(arrays.train_x, arrays.train_y, batch_size=BATCH, epochs=epochs, verbose=0)
    _, accuracy = model.evaluate(arrays.test_x, arrays.test_y, verbose=0)
    print(json.dumps({"accuracy": accuracy}))


def measured(way, epochs, seed, environ):
    if way == "model.fit":
        command = [sys.executable, __file__, "--fit", str(epochs), str(seed)]
    else:
        command = [
            *(sys.executable, "-m", "disdel", "train", DATASET, "--model", NETWORK),
            *("--runtime", "tensorflow", "--batch", str(BATCH), "--epochs", str(epochs)),
            *("--workers", str(way), "--seed", str(seed), "--quiet", "--json", "-"),
        ]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1] if way == "model.fit" else done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
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
            for way in ("model.fit", *WORKERS):
                if (way, options.epochs, seed) in done:
                    continue
                result = measured(way, options.epochs, seed, environ)
                by_round = [entry["accuracy"] for entry in result.get("rounds", [])]
                runs.append(
                    {
                        "way": way,
                        "epochs": options.epochs,
                        "seed": seed,
                        "accuracy": result["accuracy"],
                        "by_round": by_round,
                    }
                )
                RESULTS.write_text(json.dumps(runs, indent=1) + "\n")
                print(runs[-1], flush=True)


if __name__ == "__main__":
    main()

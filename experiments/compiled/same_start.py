"""Accuracy of compiled networks beside TensorFlow's, from the same weights in the same order.

    python experiments/compiled/same_start.py path/to/folder/of/data [--seeds 3] [--schedule cosine]

Between seeds accuracies differ by points, so a few of them hide what a runtime is worth. Here both
runtimes take one worker's steps of the same job (`cnn`, batch 64, 5 epochs, Adam) from one state:
what is left is rounding. Adds to `same_start.json` (every run), and writes `same_start.md` (the
table).
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from run import HERE, SOURCES

from disdel.compiler import CompileJob, compile_program
from disdel.compiler.targets import HOST
from disdel.data import import_dataset, load_arrays
from disdel.models import choose_model
from disdel.models.builtin.keras_models import build_keras_model
from disdel.runtimes.compiled.trainer import CompiledTrainer
from disdel.runtimes.keras.trainer import KerasTrainer, pin_threads
from disdel.runtimes.rates import rate_factors
from disdel.runtimes.schedule import Schedule
from disdel.types import RateSchedule

BATCH = 64
EPOCHS = 5
BLOCK_STEPS = 32
SCORED = 512


def compiled_trainer(arrays, seed):
    program = compile_program(
        CompileJob(
            model=choose_model("cnn", arrays.spec),
            input_dtype=arrays.spec.input_dtype,
            batch_size=BATCH,
            optimizer="adam",
            targets=HOST,
        )
    )
    return CompiledTrainer(program, seed=seed, threads=1)


def tensorflow_trainer(arrays, state):
    """TensorFlow's, with the weights of another's state."""
    dtype = arrays.spec.input_dtype
    network = build_keras_model(choose_model("cnn", arrays.spec), input_dtype=dtype)
    trainer = KerasTrainer(network, optimizer="adam", learning_rate=None, input_dtype=dtype)
    begun = zip(trainer.state().items(), state.values(), strict=True)
    trainer.load_state({name: value.astype(wanted.dtype) for (name, wanted), value in begun})
    return trainer


def accuracy(trainer, arrays, seed, schedule):
    """Of the test set, after one worker's steps of the job."""
    order = Schedule(len(arrays.train_x), BATCH, seed, client=0)
    total = EPOCHS * order.steps_per_epoch
    for step, positions in order.blocks(0, total, BLOCK_STEPS):
        factors = rate_factors(RateSchedule(shape=schedule), step - len(positions), step, total)
        trainer.train(arrays.train_x[positions], arrays.train_y[positions], 1, factors)
    tests = range(0, len(arrays.test_x), SCORED)
    parts = [(arrays.test_x[i : i + SCORED], arrays.test_y[i : i + SCORED]) for i in tests]
    return sum(trainer.score(x, y).correct for x, y in parts) / len(arrays.test_x)


def table(runs):
    lines = [
        "| data set | rate | seeds | TensorFlow | compiled | points more, mean | each |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for dataset, schedule in dict.fromkeys((run["dataset"], run["schedule"]) for run in runs):
        mine = [r for r in runs if (r["dataset"], r["schedule"]) == (dataset, schedule)]
        ours, theirs = ([run[name] for run in mine] for name in ("compiled", "tensorflow"))
        apart = [100 * (a - b) for a, b in zip(ours, theirs, strict=True)]
        cells = [dataset, schedule, str(len(mine))]
        cells += [f"{statistics.mean(theirs):.4f}", f"{statistics.mean(ours):.4f}"]
        cells += [f"{statistics.mean(apart):+.2f}", ", ".join(f"{points:+.2f}" for points in apart)]
        lines.append(f"| {' | '.join(cells)} |")
    return "Means over the seeds.\n\n" + "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, help="the folder of the data sets' files")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--schedule", choices=("constant", "cosine"), default="constant")
    parser.add_argument("--only", nargs="+", choices=SOURCES, default=list(SOURCES))
    options = parser.parse_args()
    pin_threads(1)
    results = HERE / "same_start.json"
    runs = json.loads(results.read_text()) if results.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        for dataset in options.only:
            import_dataset(dataset, options.files / SOURCES[dataset], Path(folder))
            arrays = load_arrays(dataset, Path(folder))
            for seed in range(options.seeds):
                compiled = compiled_trainer(arrays, seed)
                plain = tensorflow_trainer(arrays, compiled.state())
                run = {"dataset": dataset, "schedule": options.schedule, "seed": seed}
                runs = [r for r in runs if not run.items() <= r.items()]
                for name, trainer in (("compiled", compiled), ("tensorflow", plain)):
                    run[name] = accuracy(trainer, arrays, seed, options.schedule)
                runs.append(run)
                results.write_text(f"{json.dumps(runs, indent=1)}\n")
                (HERE / "same_start.md").write_text(table(runs))
                print(run, flush=True)


if __name__ == "__main__":
    main()

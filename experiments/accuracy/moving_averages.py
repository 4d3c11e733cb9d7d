"""What averaging workers does to batch normalisation's moving averages, with ResNet-20 in Keras.

    python experiments/accuracy/moving_averages.py path/to/cifar10-images.zip --workers 2 \
        [--epochs 4] [--samples 5000] [--batch 32] [--seed 0]

The workers of a run one after the other in one process, on one CPU thread, averaged once an epoch,
as in `explore.py`. Training does not read moving averages, so one run tells of all ways to make
them: each step's own statistics are kept, and the averages made of them afterwards. A line of
`moving_averages.jsonl` beside this file has the accuracies on the test images after each epoch with

- `as given`: Keras's momentum 0.99 at each of a worker's steps;
- `of all steps`: 0.99 ** workers, so that first values count as little as after one worker's run;
- `measured`: means of the statistics of 2,560 training images under the averaged weights.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "moving_averages.jsonl"
MOMENTUM, SCORE_BATCH = 0.99, 500


def layers_of(model):
    import keras

    found = [one for one in model._flatten_layers() if "BatchNorm" in type(one).__name__]
    assert all(isinstance(one, keras.layers.BatchNormalization) for one in found)
    return found


def statistics(layers):
    moving = (v for layer in layers for v in (layer.moving_mean, layer.moving_variance))
    return [v.numpy() for v in moving]


def put(layers, values):
    variables = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--samples", type=int, default=5_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began_s, batch = time.perf_counter(), options.batch
    sys.path.insert(0, str(HERE.parent / "speed"))
    import keras
    import keras_nets
    import samples

    from disdel.data.partitioners.built_in import shuffled
    from disdel.runtimes.keras.trainer import KerasTrainer, pin_threads
    from disdel.runtimes.schedule import Schedule
    from disdel.strategies.aggregation import weighted_mean

    pin_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        samples.resnet20(Path(folder) / "images.npz", options.samples, options.images)
        data = dict(np.load(Path(folder) / "images.npz"))
    keras.utils.set_random_seed(options.seed)
    model = keras_nets.resnet20((32, 32, 3), 10)
    layers = layers_of(model)
    for layer in layers:
        layer.momentum = 0.0  # after a step they are the step's own
    trainer = KerasTrainer(model, optimizer="adam", learning_rate=None, input_dtype="uint8")
    shards = np.array_split(shuffled(len(data["x_train"]), options.seed), options.workers)
    schedules = [Schedule(len(s), batch, options.seed, worker) for worker, s in enumerate(shards)]
    ways = {"as given": MOMENTUM, "of all steps": MOMENTUM**options.workers}
    first = statistics(layers)
    moving = dict.fromkeys(ways, first)
    state = {name: np.array(value) for name, value in trainer.state().items()}
    found = {way: [] for way in [*ways, "measured"]}

    def accuracy():
        x, y = data["x_test"], data["y_test"].astype(np.int32)
        starts = range(0, len(x), SCORE_BATCH)
        scores = [trainer.score(x[i : i + SCORE_BATCH], y[i : i + SCORE_BATCH]) for i in starts]
        return sum(score.correct for score in scores) / len(x)

    for epoch in range(options.epochs):
        ends, parts = {way: [] for way in ways}, []
        for shard, schedule in zip(shards, schedules, strict=True):
            trainer.load_state(state)
            own = dict(moving)
            steps = schedule.steps_per_epoch
            for _, positions in schedule.blocks(epoch * steps, (epoch + 1) * steps, 1):
                at = shard[positions]
                trainer.train(data["x_train"][at], data["y_train"][at].astype(np.int32))
                told = statistics(layers)
                for way, m in ways.items():
                    own[way] = [m * a + (1 - m) * b for a, b in zip(own[way], told, strict=True)]
            parts.append({name: np.array(value) for name, value in trainer.state().items()})
            for way in ways:
                ends[way].append(own[way])
        sizes = [len(shard) for shard in shards]
        state = {name: weighted_mean([part[name] for part in parts], sizes) for name in state}
        trainer.load_state(state)
        for way in ways:
            moving[way] = [np.mean(values, axis=0) for values in zip(*ends[way], strict=True)]
            put(layers, moving[way])
            found[way].append(round(accuracy(), 4))
        told = []
        for start in range(0, min(2560, len(data["x_train"])), batch):
            model(data["x_train"][start : start + batch].astype(np.float32), training=True)
            told.append(statistics(layers))
        put(layers, [np.mean(values, axis=0) for values in zip(*told, strict=True)])
        found["measured"].append(round(accuracy(), 4))
        print(found, flush=True)
    settings = {name: value for name, value in vars(options).items() if name != "images"}
    line = settings | {"accuracies": found, "s": round(time.perf_counter() - began_s)}
    with RESULTS.open("a") as results:
        results.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

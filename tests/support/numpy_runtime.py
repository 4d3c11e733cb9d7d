"""A second tenant of the registry: fully connected networks in numpy.

`register(NUMPY)` offers it as `--runtime numpy`. This file, which is all of it, travels to its
actions.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import dacite
import numpy as np

from disdel.errors import UsageError
from disdel.models import layers_of
from disdel.models.builtin.layers import Dense, Flatten, walk
from disdel.runtimes.base import OPTIMIZER_PREFIX, Scored, Trainer, check_state, split_state
from disdel.runtimes.runtime import ModelFile, Runtime
from disdel.types import Held, ModelSpec, RuntimeCosts

RATE = f"{OPTIMIZER_PREFIX}learning_rate"
STEP = f"{OPTIMIZER_PREFIX}iterations"
_DEFAULT_RATE = 0.01  # Keras's of sgd


@dataclass(frozen=True)
class Net:
    """The layers of a built-in network for classes, where they are dense."""

    spec: ModelSpec

    def __post_init__(self):
        layers = [layer for layer, _ in walk(layers_of(self.spec), self.spec.input_shape)]
        odd = [type(layer).__name__ for layer in layers if not isinstance(layer, Dense | Flatten)]
        if odd or not self.spec.classes:
            told = odd[0] if odd else "no classes"
            raise UsageError(f"--runtime numpy takes dense networks for classes, not {told}")

    def fresh(self, seed):
        random, tensors = np.random.default_rng(seed), {}
        for i, (layer, (size, *_)) in enumerate(walk(layers_of(self.spec), self.spec.input_shape)):
            if isinstance(layer, Dense):
                drawn = random.normal(0, np.sqrt(2 / size), (size, layer.units))
                tensors[f"model/{i}/kernel"] = drawn.astype(np.float32)
                tensors[f"model/{i}/bias"] = np.zeros(layer.units, np.float32)
        return tensors

    def outputs(self, tensors, x):
        """What each layer is given, of samples as stored, and the probabilities at the end."""
        scale = np.float32(1 / 255 if x.dtype == np.uint8 else 1)
        inputs = [x.reshape(len(x), -1).astype(np.float32) * scale]
        kernels = [name for name in tensors if name.endswith("kernel")]
        for name in kernels:
            out = inputs[-1] @ tensors[name] + tensors[name.replace("kernel", "bias")]
            if name != kernels[-1]:
                inputs.append(np.maximum(out, 0))
        out = np.exp(out - out.max(1, keepdims=True))
        return inputs, out / out.sum(1, keepdims=True)

    def gradients(self, tensors, x, y):
        """Those of the summed loss of a batch, and that loss."""
        inputs, error = self.outputs(tensors, x)
        loss = -np.log(error[np.arange(len(y)), y] + 1e-9).sum()
        error[np.arange(len(y)), y] -= 1
        found = {}
        for name in reversed([name for name in tensors if name.endswith("kernel")]):
            given = inputs.pop()
            found[name], found[name.replace("kernel", "bias")] = given.T @ error, error.sum(0)
            error = (error @ tensors[name].T) * (given > 0)
        return found, float(loss)


class NumpyTrainer(Trainer):
    """Plain gradient descent."""

    model_suffix = ".npz"

    def __init__(self, spec, *, optimizer="sgd", learning_rate=None, seed=0, precision="float32"):
        if optimizer != "sgd" or precision != "float32":
            raise UsageError(f"--runtime numpy takes sgd in float32, not {optimizer}, {precision}")
        self._net, self._terms = Net(spec), None
        self._rate = np.float32(learning_rate or _DEFAULT_RATE)
        self._state = self._net.fresh(seed) | self._fresh_optimizer()

    def _fresh_optimizer(self):
        return {RATE: self._rate, STEP: np.int64(0)}

    def state(self):
        return {name: np.array(value) for name, value in self._state.items()}

    def load_state(self, tensors):
        if not split_state(tensors)[1]:
            tensors = {**tensors, **self._fresh_optimizer()}
        check_state({name: np.shape(value) for name, value in self._state.items()}, tensors)
        self._state = {name: np.array(tensors[name]) for name in self._state}

    def trained(self):
        return tuple(split_state(self._state)[0])

    def add_terms(self, terms):
        self._terms = terms

    def train(self, x, y, micro_batches=1, rate_factors=None, seeds=None):
        loss_sum, parts = 0.0, min(micro_batches, x.shape[1])
        for step in range(len(x)):
            model = {name: self._state[name] for name in self.trained()}
            total = {name: np.zeros_like(value) for name, value in model.items()}
            pieces = np.array_split(x[step], parts), np.array_split(y[step], parts)
            for piece in zip(*pieces, strict=True):
                found, loss = self._net.gradients(model, *piece)
                total = {name: total[name] + found[name] for name in total}
                loss_sum += loss
            rate = self._state[RATE] * np.float32(1 if rate_factors is None else rate_factors[step])
            for name, value in model.items():
                gradient = total[name] / np.float32(x.shape[1])
                if self._terms is not None:
                    gradient += np.float32(self._terms.proximal) * value
                    gradient += self._terms.shift.get(name, np.float32(0))
                self._state[name] = value - rate * gradient
            self._state[STEP] = self._state[STEP] + 1
        return loss_sum

    def score(self, x, y):
        _, given = self._net.outputs(split_state(self._state)[0], x)
        loss = -np.log(given[np.arange(len(y)), y] + 1e-9).sum()
        return Scored(float(loss), int((given.argmax(1) == y).sum()))

    def save_model(self, path):
        about = json.dumps(asdict(self._net.spec))
        np.savez(path, allow_pickle=False, spec=about, **split_state(self._state)[0])


def build_trainer(network, samples):
    return NumpyTrainer(
        network.model,
        optimizer=network.optimizer or "sgd",
        learning_rate=network.learning_rate,
        seed=network.seed,
        precision=network.precision,
    )


def load_model(path, code):
    """The spec, and the tensors by name."""
    with np.load(path) as file:
        fields = json.loads(str(file["spec"]))
        tensors = {name: file[name] for name in file.files if name != "spec"}
    return dacite.from_dict(ModelSpec, fields, dacite.Config(cast=[tuple])), tensors


def load_predictor(path, threads):
    spec, tensors = load_model(path, None)
    return lambda x: Net(spec).outputs(tensors, x)[1]


def look_at(path):
    spec, _ = load_model(path, None)
    return ModelFile(input_shape=spec.input_shape, spec=spec)


NUMPY = Runtime(
    costs=RuntimeCosts(
        name="numpy",
        anonymous_mb=40,
        mapped_mb=16,
        import_s=0.1,
        cold_start_s=0.4,
        trace_s=0,
        trace_layer_s=0,
        step_overhead_s=0.1e-3,
        activations_per_s=0.5e9,
        multiply_adds_per_s=20e9,
        thread_exponent=0.3,
        held=Held(layer_mb=0, tracing_anonymous_mb=4, tracing_mapped_mb=0),
        uses_gpu=False,
    ),
    networks=__name__,
    image="runtime-base",
    imports="numpy",
    modules=("numpy",),
    distributions=("numpy",),
    packages=(),
    model_suffix=".npz",
    chosen_for=(),
)

"""Keras models of the user's own, compiled, beside the same ones on TensorFlow."""

import sys
from pathlib import Path

import numpy as np
import pytest

from disdel.protocol.description import DescribeRequest
from disdel.types import feature_of, target_of
from disdel.user_code.collecting import collect
from disdel.user_code.module import UserModule
from tests.support.own_compiled import make
from tests.support.own_keras import own_trainer

pytestmark = [
    pytest.mark.framework,
    # Keras's own, when it saves.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    # TensorFlow's, of a sigmoid whose loss expects logits.
    pytest.mark.filterwarnings("ignore:.*received `from_logits=True`:UserWarning"),
]

BATCH = 8
SHAPE = (6, 6, 1)

MODELS = {
    "logits": make(
        "layers.Conv2D(4, 3, activation='relu')",
        "layers.Flatten()",
        "layers.Dense(classes, kernel_regularizer='l2')",
        head="""
metrics = ["sparse_top_k_categorical_accuracy"]
def optimizer():
    return keras.optimizers.SGD(0.02, 0.9, nesterov=True, weight_decay=0.01, clipnorm=1.0)
def preprocess(x):
    return ops.sqrt(x) / 16
def loss(y, given):
    usual = keras.losses.sparse_categorical_crossentropy(y, given, from_logits=True)
    return usual + 0.1 * ops.sum(ops.square(given), axis=-1)
""",
    ),
    "probabilities": make(
        "layers.Rescaling(1 / 255)",
        "layers.Flatten()",
        "keras.Sequential([layers.Dense(8, activation=gated), layers.BatchNormalization()])",
        "layers.Dense(classes, activation='softmax')",
        head="""
loss = "sparse_categorical_crossentropy"
optimizer = keras.optimizers.SGD(0.1)
def gated(x):
    return x * ops.sigmoid(2 * x)
""",
    ),
    "binary": make(
        "layers.Rescaling(1 / 255)",
        "layers.Flatten()",
        "layers.Dense(9, trainable=False)",
        "layers.BatchNormalization(trainable=False)",
        "layers.Dense(1, activation='sigmoid')",
        head="""
metrics = [keras.metrics.BinaryAccuracy(threshold=0.7), "binary_crossentropy"]
optimizer = "sgd"
""",
    ),
    "stopped": """
import keras
from keras import layers, ops
def optimizer():
    made = keras.optimizers.AdamW(0.02, weight_decay=0.5, global_clipnorm=1.0)
    made.exclude_from_weight_decay(var_names=["bias"])
    return made
def make(input_shape, classes):
    x = given = keras.Input(input_shape)
    x = layers.Flatten()(layers.Rescaling(1 / 255)(x))
    x = ops.stop_gradient(layers.Dense(8, activation="relu")(x))
    last = keras.Sequential([layers.Dense(classes, activation="softmax")])
    return keras.Model(given, last(last(layers.Dense(classes)(x))))
""",
    # What is done to weights after a layer was made; chances that are rounded to 0 and 1.
    "saturated": """
import keras
from keras import layers, ops
optimizer = keras.optimizers.SGD(0.01)
def loss(y, given):
    return keras.losses.binary_crossentropy(y, given, label_smoothing=0.1, from_logits=True)
def metrics(y, given):
    return keras.losses.binary_crossentropy(y, given)
def make(input_shape, classes):
    wide = keras.initializers.RandomNormal(stddev=60)
    net = keras.Sequential([
        keras.Input(input_shape),
        layers.Rescaling(1 / 255),
        layers.Flatten(),
        layers.Dense(8, activation="tanh", name="first", kernel_regularizer="l1"),
        layers.Dense(1, activation="sigmoid", name="last", kernel_initializer=wide),
    ])
    first, last = net.get_layer("first"), net.get_layer("last")
    first.bias.trainable = False
    first.kernel.regularizer = keras.regularizers.L2(0.01)
    last.kernel.constraint = keras.constraints.MaxNorm(90)
    return net
""",
    "number": make(
        "layers.Rescaling(1 / 255)",
        "layers.Flatten()",
        "layers.Dense(1)",
        head="""
optimizer = keras.optimizers.SGD(0.05)
loss = keras.losses.Huber(0.5)
def metrics(y, given):
    return ops.log(ops.cosh(given - y))
""",
    ),
}
CLASSES = {
    "logits": 7,
    "probabilities": 7,
    "binary": 2,
    "stopped": 7,
    "saturated": 2,
    "number": 0,
}
FROZEN = {"binary": 6, "saturated": 1}


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory):
    pytest.importorskip("iree.compiler")
    return tmp_path_factory.mktemp("own-compiled")


@pytest.fixture
def both(state_dir, tmp_path, monkeypatch):
    """The compiled trainer of an own model and TensorFlow's, from the same state."""
    import keras

    from disdel.compiler import CompileJob, compile_program
    from disdel.models.user.describe import describe
    from disdel.runtimes.compiled.trainer import CompiledTrainer

    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("DISDEL_STATE_DIR", str(state_dir))

    def both(name):
        (tmp_path / "net.py").write_text(MODELS[name])
        code = collect(f"{tmp_path}/net.py:make")
        rng, samples = np.random.default_rng(0), tmp_path / "samples.npz"
        y = (np.arange(BATCH) % (CLASSES[name] or BATCH)).astype(np.int32)
        x = rng.integers(0, 256, (BATCH, *SHAPE), np.uint8)
        np.savez(samples, x=x, y=y if CLASSES[name] else y.astype(np.float32))
        reply = describe(
            DescribeRequest(
                code=code.ref,
                folder=str(tmp_path),
                samples=str(samples),
                features=(feature_of(SHAPE, "uint8"),),
                targets=(target_of(CLASSES[name]),),
                batch_size=BATCH,
            )
        )
        job = CompileJob(
            model=reply.model,
            input_dtype="uint8",
            batch_size=BATCH,
            optimizer=None,
            targets=("host",),
        )
        mine = CompiledTrainer(compile_program(job, code), seed=0, threads=1)
        keras.utils.clear_session()
        module = UserModule(code.ref, Path(tmp_path))
        theirs = own_trainer(
            module,
            input_shape=SHAPE,
            classes=CLASSES[name],
            gives_probabilities=reply.model.gives_probabilities,
            input_dtype="uint8",
        )
        begun = zip(theirs.state().items(), mine.state().values(), strict=True)
        theirs.load_state({name: value.astype(wanted.dtype) for (name, wanted), value in begun})
        return mine, theirs

    return both


def samples(name, count):
    rng = np.random.default_rng(count)
    x = rng.integers(0, 256, (3, count, *SHAPE), np.uint8)
    if name == "number":
        return x, rng.standard_normal((3, count)).astype(np.float32)
    return x, rng.integers(0, CLASSES[name], (3, count)).astype(np.int32)


# Keras's own, of the variables before a stopped gradient.
@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
@pytest.mark.parametrize("name", MODELS)
def test_steps_and_scores_are_tensorflow_s(both, name):
    """Own optimizers, losses and metrics included; the second block's batches are ragged."""
    mine, theirs = both(name)
    assert mine.frozen() == theirs.frozen()
    assert len(mine.frozen()) == FROZEN.get(name, 0)
    for clients, count in ((1, BATCH), (3, BATCH - 3)):
        for trainer in (mine, theirs):
            trainer.share_steps(clients)
        x, y = samples(name, count)
        assert mine.train(x, y) == pytest.approx(theirs.train(x, y), rel=1e-4)
    pairs = zip(mine.state().items(), theirs.state().values(), strict=True)
    for (tensor, found), wanted in pairs:
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5, err_msg=tensor)
    x, y = samples(name, 11)
    found, wanted = mine.score(x[0], y[0]), theirs.score(x[0], y[0])
    assert found.correct == wanted.correct
    assert found.loss_sum == pytest.approx(wanted.loss_sum, rel=1e-4)
    assert found.metric_sums == pytest.approx(dict(wanted.metric_sums), rel=1e-4)

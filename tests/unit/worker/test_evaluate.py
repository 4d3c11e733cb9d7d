"""An evaluate activation around a predictor that is arithmetic."""

import time

import numpy as np
import pytest

from disdel.errors import StoreError, UsageError
from disdel.protocol import messages
from disdel.store.codec import encode, read_tensors
from disdel.store.memory_store import MemoryStore
from disdel.types import target_of
from disdel.worker.context import Context
from disdel.worker.evaluate import evaluate
from disdel.worker.model_file import PredictorCache
from openwhisk_local.machine.container_memory import MemoryUse

SAMPLES = 1000


class Memory:
    def __init__(self, critical=False):
        self.critical = critical

    def use(self):
        return MemoryUse(
            used_bytes=10 << 20, peak_bytes=20 << 20, limit_bytes=64 << 20, critical=self.critical
        )


class Loads:
    """Loads predictors whose first probability is the sample; counts loads and batches."""

    def __init__(self):
        self.files = []
        self.batches = []

    def __call__(self, runtime, path, threads):
        self.files.append(path.read_bytes())
        return self.predict

    def predict(self, x):
        self.batches.append(len(x))
        share = x[:, 0].astype(np.float32) / SAMPLES
        return np.stack([share, 1 - share], axis=1)


@pytest.fixture
def store():
    store = MemoryStore()
    store.put("model", b"a model " * 1_000_000)
    store.put("input", encode({"x": np.arange(SAMPLES).reshape(-1, 1)}))
    return store


def run(store, cache, *, remaining_s=3600.0, critical=False, **changes):
    fields = {
        "runtime": "tensorflow",
        "worker": 0,
        "threads": 1,
        "batch_size": 64,
        "start_sample": 0,
        "heed_memory": True,
        "target": target_of(2),
        "model_key": "model",
        "input_key": "input",
        "output_key": "output",
        "progress_key": "progress",
    }
    context = Context(store, time.time() + remaining_s, Memory(critical))
    return evaluate(messages.EvaluateRequest(**(fields | changes)), context, cache)


def shares(store, key="output"):
    return read_tensors(store, key)["outputs"][:, 0] * SAMPLES


def test_samples_are_streamed_in_batches_and_keep_their_order(store):
    loads = Loads()
    reply = run(store, PredictorCache(loads))
    assert (reply.outcome, reply.next_sample) == ("ok", SAMPLES)
    assert loads.batches == [64] * 15 + [40]
    assert np.allclose(shares(store), np.arange(SAMPLES))


def test_the_model_is_read_once_a_container(store):
    loads = Loads()
    cache = PredictorCache(loads)
    run(store, cache)
    run(store, cache)
    assert loads.files == [b"a model " * 1_000_000]
    store.put("other", b"another")
    run(store, cache, model_key="other")
    assert loads.files[1:] == [b"another"]


def test_near_the_deadline_it_stores_what_it_has_and_asks_to_go_on(store):
    cache, parts, reached = PredictorCache(Loads()), [], 0
    while reached < SAMPLES:
        # No time beyond the first batch, which every activation may take.
        reply = run(store, cache, remaining_s=0.0, batch_size=300, start_sample=reached)
        assert reply.outcome == ("continued-time" if reply.next_sample < SAMPLES else "ok")
        parts.append(shares(store))
        reached = reply.next_sample
    assert [len(part) for part in parts] == [300, 300, 300, 100]
    assert np.allclose(np.concatenate(parts), np.arange(SAMPLES))


def test_short_of_memory_it_stores_what_it_has_and_says_so(store):
    reply = run(store, PredictorCache(Loads()), critical=True)
    assert (reply.outcome, reply.next_sample) == ("continued-memory", 64)
    assert len(shares(store)) == 64
    unheeding = run(store, PredictorCache(Loads()), critical=True, heed_memory=False)
    assert unheeding.outcome == "ok"


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ([[2.0, 3.0]], "add up to 5; give it a softmax"),
        ([[-1.0, 2.0]], "no probabilities"),
        ([[float("nan"), 1.0]], "no probabilities"),
        ([[[1.0]]], r"outputs of shape \(1, 1\)"),
    ],
)
def test_outputs_that_are_no_probabilities_are_refused(store, outputs, told):
    cache = PredictorCache(lambda runtime, path, threads: lambda x: np.array(outputs, np.float32))
    with pytest.raises(UsageError, match=told):
        run(store, cache, batch_size=1)
    assert store.open("output") is None


def test_numbers_are_stored_as_they_are(store):
    cache = PredictorCache(lambda runtime, path, threads: lambda x: x.astype(np.float32) - 7)
    run(store, cache, target=target_of(0))
    assert read_tensors(store, "output")["outputs"][:, 0].tolist() == list(range(-7, SAMPLES - 7))


@pytest.mark.parametrize("outputs", [[[0.5, 0.5]], [1.0], [[[1.0]]]])
def test_outputs_that_are_no_numbers_are_refused(store, outputs):
    cache = PredictorCache(lambda runtime, path, threads: lambda x: np.array(outputs, np.float32))
    with pytest.raises(UsageError, match="the data set has one number a sample; name a model"):
        run(store, cache, batch_size=1, target=target_of(0))
    assert store.open("output") is None


@pytest.mark.parametrize(
    ("target", "gives", "stored"),
    [
        (target_of(0, (3, 2)), (3, 2), (3, 2)),
        (target_of(0, (3, 2)), (3, 2, 1), (3, 2)),
        (target_of(0, (3, 2)), (1, 3, 2), (3, 2)),
        (target_of(2, (3,)), (3, 2), (3, 2)),
    ],
)
def test_outputs_have_the_axes_of_their_targets(store, target, gives, stored):
    cache = PredictorCache(lambda runtime, path, threads: lambda x: np.full((len(x), *gives), 0.5))
    run(store, cache, target=target)
    assert read_tensors(store, "output")["outputs"].shape == (SAMPLES, *stored)


@pytest.mark.parametrize(
    ("target", "gives", "told"),
    [
        (target_of(0, (3, 2)), (2, 3), r"shape \(2, 3\), .* numbers of shape \(3, 2\) for"),
        (target_of(2, (3,)), (2,), r"outputs of shape \(2,\), not one a class, .* shape \(3,\)"),
    ],
)
def test_outputs_of_other_axes_are_refused(store, target, gives, told):
    cache = PredictorCache(lambda runtime, path, threads: lambda x: np.full((len(x), *gives), 0.5))
    with pytest.raises(UsageError, match=told):
        run(store, cache, target=target)


def test_input_without_samples_is_no_input(store):
    store.put("empty", encode({"y": np.zeros(3)}))
    with pytest.raises(StoreError, match="no rows of a tensor x"):
        run(store, PredictorCache(Loads()), input_key="empty")


def test_progress_can_be_followed(store):
    run(store, PredictorCache(Loads()))
    assert '"state": "done"' in store.fields("progress")["0"]


@pytest.mark.framework
# Keras's own way to save a variable.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_keras_file_becomes_a_predictor(tmp_path):
    import keras

    from disdel.worker.model_file import load_predictor

    layers = [keras.Input((3, 2)), keras.layers.Flatten(), keras.layers.Dense(4, "softmax")]
    model = keras.Sequential(layers)
    model.save(tmp_path / "model.keras")
    predict = load_predictor("tensorflow", tmp_path / "model.keras", None)
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 2), np.uint8)
    assert np.allclose(predict(x), model(x.astype(np.float32)), atol=1e-6)
    assert predict(x[:2]).shape == (2, 4)
    with pytest.raises(UsageError, match=r"takes samples of shape \(3, 2\), not \(2, 3\)"):
        predict(x.reshape(5, 2, 3))
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(UsageError, match="cannot be loaded"):
        load_predictor("tensorflow", tmp_path / "text.keras", None)


@pytest.mark.parametrize("target", [target_of(2, (3,)), target_of(0, (3,))])
def test_labels_that_a_model_masks_are_told_beside_the_outputs(store, target):
    tail = (2,) if target.kind == "class" else ()

    def predict(x):
        found = np.full((len(x), 3, *tail), 0.5, np.float32)
        if 70 in x:
            return found  # of this batch all counts
        masked = np.zeros(found.shape, bool)
        masked[:, 2:] = True
        return np.ma.array(found, mask=masked)

    run(store, PredictorCache(lambda *_: predict), target=target)
    counts = read_tensors(store, "output")["counts"].astype(bool)
    assert counts.shape == (SAMPLES, 3)
    assert counts[64:128].all()
    assert counts[:64].tolist() == [[True, True, False]] * 64
    run(store, PredictorCache(lambda *_: predict), target=target, start_sample=64, output_key="b")
    assert read_tensors(store, "b").keys() >= {"outputs", "counts"}

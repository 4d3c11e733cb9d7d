"""Training a PyTorch module of the user's own: what its steps see, draw, and leave in its state."""

import random
from dataclasses import replace

import numpy as np
import pytest

from disdel.runtimes.schedule import Schedule
from disdel.strategies.aggregation import weighted_mean
from tests.support.torch_nets import TIED, ZERO, blocks, forward, make

pytestmark = pytest.mark.framework


def test_values_of_images_keep_their_places(trainer):
    text = make(
        "nn.Flatten()", "Corner()", "nn.Linear(1, 1, bias=False)",
        head="""
class Corner(nn.Module):
    def forward(self, x):
        # Channel 1 of row 0, column 2, of 3 channels of 4 rows and 5 columns.
        return x[:, [1 * 20 + 0 * 5 + 2]]
""",
    )  # fmt: skip
    mine = trainer(text, input_shape=(4, 5, 3), input_dtype="uint8", classes=0)
    x = np.zeros((1, 4, 5, 3), np.uint8)
    x[0, 0, 2, 1] = 200
    [weight] = [v for n, v in mine.state().items() if n.endswith("weight") and "model/" in n]
    scored = mine.score(x, np.zeros(1, np.float32))
    assert scored.metric_sums["mean_absolute_error"] == pytest.approx(200 * abs(weight.item()))


def test_what_stands_beside_the_function_is_used(trainer):
    beside = """
loss = nn.CrossEntropyLoss(label_smoothing=0.5)
def least(probabilities, targets): return probabilities.amin(1)
def accuracy(probabilities, targets): return (probabilities.argmax(1) == targets).float().mean()
metrics = [least, accuracy]
def optimizer(parameters): return torch.optim.SGD(parameters, lr=0.0)
def augment(x, y): return x * 0, y
def preprocess(x): return x / 2
"""
    text = make("Zero(4, classes)", head=ZERO + beside)
    mine = trainer(text)
    x, y = np.ones((8, 4), np.float32), np.arange(8, dtype=np.int32) % 3
    before = mine.state()
    assert mine.train(x[np.newaxis], y[np.newaxis]) == pytest.approx(8 * np.log(3), rel=1e-5)
    for name, value in mine.state().items():
        assert "step" in name or (value == before[name]).all(), name
    scored = mine.score(x, y)
    assert scored.correct == 3
    assert scored.metric_sums == pytest.approx({"least": 8 / 3, "accuracy": 3})


def test_augment_changes_a_whole_batch_however_it_is_cut(trainer):
    """Also which of its labels count."""
    head = """
loss = nn.CrossEntropyLoss(ignore_index=1)
def optimizer(parameters): return torch.optim.SGD(parameters, lr=0.5)
def augment(x, y): return x - x.flip(0), y.flip(0)
"""
    x, y = blocks()
    whole, cut = (trainer(make("nn.Linear(4, classes)", head=head)) for _ in range(2))
    assert cut.train(x, y, micro_batches=3) == pytest.approx(whole.train(x, y), rel=1e-5)
    for name, value in whole.state().items():
        np.testing.assert_allclose(cut.state()[name], value, atol=1e-5)


def test_a_state_has_buffers_and_each_shared_parameter_once(trainer):
    mine = trainer(TIED)
    x, y = blocks()
    mine.train(x, y)
    state = mine.state()
    assert "model/inner.weight" in state
    assert "model/again.weight" not in state
    assert state["model/calls"] == state["model/norm.num_batches_tracked"] == 6
    assert state["model/scratch"].tolist() == [3, 3]
    assert state["model/last.weight"].shape == (3, 4)
    assert mine.score(x[0], y[0]) == mine.score(x[0], y[0])


def test_a_round_in_segments_is_bit_for_bit_a_round_in_one(trainer):
    """Dropout and augmentation draw what the step's number says, wherever they run."""
    text = (
        TIED
        + """
import random
import numpy
def augment(x, y): return x + torch.randn_like(x) + random.random() + numpy.random.rand(), y
"""
    )
    x, y = blocks()
    seeds = Schedule(30, 5, seed=7, client=1).seeds(0, 6)
    whole = trainer(text)
    loss = whole.train(x, y, seeds=seeds)
    first, second = trainer(text), trainer(text, seed=9)
    parts = [first.train(x[:2], y[:2], seeds=seeds[:2])]
    second.load_state(first.state())
    second.score(x[0], y[0])
    random.random()
    parts += [second.train(x[i : i + 1], y[i : i + 1], seeds=seeds[i : i + 1]) for i in range(2, 6)]
    assert sum(parts) == pytest.approx(loss)
    for name, value in whole.state().items():
        assert value.tobytes() == second.state()[name].tobytes(), name
    other = trainer(text)
    other.train(x, y, seeds=Schedule(30, 5, seed=7, client=0).seeds(0, 6))
    assert (other.state()["model/last.weight"] != whole.state()["model/last.weight"]).any()


def test_seeds_follow_run_client_and_step_alone():
    schedule = Schedule(640, 64, seed=3, client=2)
    whole = schedule.seeds(0, 20)
    assert whole.dtype == np.uint32
    assert np.concatenate([schedule.seeds(0, 7), schedule.seeds(7, 20)]).tolist() == whole.tolist()
    others = [replace(schedule, client=1), replace(schedule, seed=4)]
    assert len({*whole.tolist(), *(s for o in others for s in o.seeds(0, 20).tolist())}) == 60
    assert schedule.seeds(5, 5).shape == (0,)


def test_one_round_of_two_workers_is_one_large_step(trainer):
    text = make("nn.Linear(4, 8)", "nn.Tanh()", "nn.Linear(8, classes)",
                head="def optimizer(p): return torch.optim.SGD(p, lr=0.5)")  # fmt: skip
    x, y = blocks(steps=1, batch=60)
    large = trainer(text)
    large.train(x, y)
    parts = []
    for shard in (slice(0, 20), slice(20, 60)):
        worker = trainer(text)
        worker.train(x[:, shard], y[:, shard])
        parts.append(worker.state())
    for name, expected in large.state().items():
        mean = weighted_mean([part[name] for part in parts], [20, 40])
        np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_last_batch_of_one_sample_can_be_normalised(trainer):
    x, y = blocks(steps=1, batch=1)
    mine = trainer(TIED)
    assert np.isfinite(mine.train(x, y))
    assert all(np.isfinite(value).all() for value in mine.state().values())


@pytest.mark.parametrize(
    ("classes", "loss"), [(0, "mse_loss"), (2, "binary_cross_entropy_with_logits")]
)
def test_one_output_may_have_no_axis(trainer, classes, loss):
    """Loss and metrics then get targets without one, as PyTorch has them."""
    head = f"""
def loss(outputs, targets):
    assert outputs.shape == targets.shape
    return torch.nn.functional.{loss}(outputs, targets)
def metrics(given, targets):
    assert given.shape == targets.shape
    return (given - targets).abs()
"""
    x, _ = blocks(steps=3)
    y = (x[..., 0] > 0).astype(np.int32) if classes else x[..., 0]
    flat, usual = (
        trainer(forward(result, 1) + head, classes=classes)
        for result in ("self.dense(x).squeeze(-1)", "self.dense(x)")
    )
    usual.load_state(flat.state())
    assert flat.train(x, y, micro_batches=2) == usual.train(x, y, micro_batches=2)
    for (name, value), wanted in zip(flat.state().items(), usual.state().values(), strict=True):
        np.testing.assert_array_equal(value, wanted, err_msg=name)
    assert flat.score(x[0], y[0]) == usual.score(x[0], y[0])
    assert flat.score(x[0], y[0]).metric_sums["metrics"] > 0


@pytest.mark.parametrize("classes", [3, 0])
def test_samples_stay_whatever_code_computes_in_place(trainer, classes):
    head = """
def preprocess(x): return x.sub_(1)
def loss(outputs, targets): return (outputs[:, :1] - targets.sub_(1).reshape(-1, 1)).square().mean()
"""
    mine = trainer(
        make("nn.ReLU(inplace=True)", f"nn.Linear(4, {classes or 1})", head=head), classes=classes
    )
    x, y = blocks(steps=1)
    y = y.astype(np.int64 if classes else np.float32)
    stored = x.copy(), y.copy()
    first = mine.score(x[0], y[0])
    assert mine.score(x[0], y[0]) == first
    mine.train(x, y)
    np.testing.assert_equal((x, y), stored)

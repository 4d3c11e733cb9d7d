"""An infer run on a platform of this process, a real Redis, and a model that is arithmetic."""

import asyncio
import json
import re
import threading
import time
import zipfile

import numpy as np
import pytest

from disdel.controller.inference import infer as infer_module
from disdel.controller.invoking.recovery import MAX_LOSSES
from disdel.errors import ActivationFailed, InsufficientMemory, StoreError, UsageError
from disdel.platforms.base import Provider
from disdel.protocol import messages
from disdel.report.html_report import render
from disdel.runtimes.registry import runtime_of
from disdel.settings import Settings
from disdel.store.codec import encoded_rows, open_rows
from disdel.store.redis_store import RedisStore
from disdel.types import InferJob, Limits
from disdel.types.events import InferPlanMade, Noted
from disdel.types.report_json import read_report
from tests.support.fake_platform import FakePlatform, activation, sessions_of

OOM = "The action exhausted its memory and was aborted."
VANISHED = "The action did not produce a valid response and exited unexpectedly."


def brightness(x):
    """Class probabilities of the arithmetic model: one class gets nearly all, by the pixels."""
    likely = x.reshape(len(x), -1).sum(axis=1, dtype=np.int64) % 10
    probabilities = np.full((len(x), 10), 0.01, np.float32)
    probabilities[np.arange(len(x)), likely] = 0.91
    return probabilities


class Arithmetic:
    """Evaluates by `brightness`; a hook by worker may end an activation in another way."""

    def __init__(self, store):
        self.store = store
        self.hooks = {}
        self.requests = []
        self.classes = 10
        # Of worker 0's samples, so many count; None where nothing is said.
        self.counted = None
        self.run_is_over = lambda: False

    def evaluate(self, arguments):
        request = messages.from_json(messages.EvaluateRequest, arguments)
        self.requests.append(request)
        for key in (request.model_key, request.input_key):
            self.store.wait_for(key, time.monotonic() + 30, sleep=self.sleep)
        samples = open_rows(self.store, request.input_key, "x")
        instead = self.hooks.get(request.worker, lambda request, samples: None)(request, samples)
        return instead or self.answer(request, samples, len(samples), "ok")

    def sleep(self, seconds):
        """What a run that is over has removed is waited for no longer."""
        if self.run_is_over():
            raise StoreError("the run is over")
        time.sleep(seconds)

    def answer(self, request, samples, stop, outcome):
        found = brightness(samples.read(request.start_sample, stop))[:, : self.classes]
        told = {"outputs": found}
        if self.counted is not None and request.worker == 0:
            counts = np.arange(len(found)) < self.counted
            told["counts"] = counts.astype(np.uint8)
        self.store.put_stream(request.output_key, encoded_rows(told, slice(None)))
        reply = messages.EvaluateReply(
            outcome=outcome, next_sample=stop, peak_mb=300, working_set_mb=400 + request.worker
        )
        return messages.to_json(reply)


def lost(number, text=VANISHED):
    result = {"error": text}
    return activation(number, "evaluate", result, status="action developer error")


@pytest.fixture
def arithmetic(redis_url):
    store = RedisStore(redis_url)
    yield Arithmetic(store)
    store.close()


@pytest.fixture
def model(tmp_path):
    """A file that says it takes digits, and holds nothing else."""
    return keras_file(tmp_path / "some.keras", (8, 8, 1))


def keras_file(path, shape):
    layer = {"class_name": "InputLayer", "config": {"batch_shape": [None, *shape]}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": [layer]}}))
    return path


@pytest.fixture
def run(arithmetic, redis_url, monkeypatch, tmp_path, model):
    """Run an infer job on digits to its end."""
    platform = FakePlatform({"evaluate": arithmetic.evaluate})
    arithmetic.run_is_over = lambda: not platform.packages

    opened = sessions_of(platform, arithmetic.store, redis_url)
    monkeypatch.setattr(infer_module, "open_session", opened)
    events = []

    def start(limits=None, **job):
        settings = Settings(run_dir=tmp_path / "runs", limits=limits or Limits())
        job = {"dataset": "digits", "model": str(model), "workers": 2} | job
        return asyncio.run(infer_module.infer(InferJob(**job), settings, events.append))

    start.events = events
    start.platform = platform
    start.run_dir = tmp_path / "runs"
    return start


def test_a_platform_that_was_begun_hears_of_the_image_before_samples_are_read(
    run, monkeypatch, model
):
    told = []

    class Begun(Provider):
        name = "begun"

        def expect(self, image):
            told.append(image)

        def open(self, settings, tell=None):
            raise NotImplementedError

    def refuse(*args):
        raise UsageError(f"told of {told}")

    monkeypatch.setattr(infer_module, "_load_source", refuse)
    job = InferJob(dataset="digits", model=str(model))
    image = Settings().image(runtime_of(model).image)
    with pytest.raises(UsageError, match=re.escape(f"told of {[image]}")):
        asyncio.run(infer_module.infer(job, Settings(), run.events.append, provider=Begun()))


def test_what_a_model_masks_is_predicted_and_not_scored(run, arithmetic):
    arithmetic.counted = 5
    done = run()
    first = len(samples_of(run, 0))
    scored = np.r_[:5, first : len(done.predictions)]
    right = done.predictions.probabilities.argmax(axis=1) == done.predictions.labels
    assert done.report.accuracy == pytest.approx(right[scored].mean())
    assert sum(one.samples for one in done.report.evaluation.classes) == len(scored)


def test_shards_are_joined_in_order_and_scored(run, arithmetic):
    done = run(top_k=10)
    predictions, report = done.predictions, done.report
    x = np.concatenate([samples_of(run, worker) for worker in range(2)])
    assert np.array_equal(predictions.probabilities, brightness(x))
    assert report.accuracy == pytest.approx(
        (predictions.probabilities.argmax(axis=1) == predictions.labels).mean()
    )
    assert report.evaluation.top_k_accuracy == 1
    assert sum(score.samples for score in report.evaluation.classes) == len(predictions) == 359
    assert np.trace(report.evaluation.confusion) == pytest.approx(report.accuracy * 359)
    assert [entry.working_set_mb for entry in report.activations] in ([400, 401], [401, 400])
    saved = json.loads(done.folder.report.read_text())
    assert saved["plan"]["workers"] == 2
    assert saved["plan"]["shards"] == [
        {"worker": 0, "samples": 180, "client": None},
        {"worker": 1, "samples": 179, "client": None},
    ]
    assert saved["evaluation"]["confusion"] == [list(row) for row in report.evaluation.confusion]


def test_the_report_makes_a_page(run):
    saved = read_report(run().folder.report)
    assert saved.plan.workers == 2
    assert "evaluate" in render(saved)


def samples_of(run, worker):
    """What the held-out split has for a worker, from the predictions' order."""
    from disdel.data import load_arrays
    from disdel.settings import data_dir

    x = load_arrays("digits", data_dir()).test_x
    return x[:180] if worker == 0 else x[180:]


def test_evaluate_actions_run_at_the_same_time(run, arithmetic):
    met = threading.Barrier(2)

    def meet(request, samples):
        met.wait(30)

    arithmetic.hooks = {0: meet, 1: meet}
    assert run().report.status == "ok"


def test_nothing_is_left_on_platform_and_store(run, arithmetic):
    done = run()
    assert run.platform.packages == {}
    assert run.platform.actions == {}
    assert arithmetic.store.delete_prefix(f"disdel:{done.folder.run}:") == 0


def test_a_lost_activation_runs_again_and_changes_nothing(run, arithmetic):
    whole = run()
    arithmetic.hooks[1] = lambda request, samples: (
        lost(900) if arithmetic.requests[-1].output_key.endswith(":0") else None
    )
    disturbed = run()
    assert disturbed.report.totals.failed == disturbed.report.totals.restarted == 1
    assert np.array_equal(disturbed.predictions.probabilities, whole.predictions.probabilities)


def test_out_of_memory_is_met_with_more_of_it(run, arithmetic):
    arithmetic.hooks[0] = lambda request, samples: (
        lost(900, OOM) if request.output_key.endswith(":0") else None
    )
    report = run().report
    [killed] = [entry for entry in report.activations if entry.outcome == "oom"]
    [after] = [e for e in report.activations if e.worker == 0 and e.outcome == "ok"]
    assert killed.memory_mb == report.plan.memory_mb < after.memory_mb
    assert any("evaluate 0 was lost (oom)" in e.message for e in run.events if isinstance(e, Noted))


def test_at_the_ceiling_batches_get_smaller_instead(run, arithmetic):
    # What one action needs at the least is all that it may have.
    need_mb = run().report.plan.memory_mb
    arithmetic.requests.clear()
    arithmetic.hooks[0] = lambda request, samples: (
        lost(900, OOM) if request.batch_size > 40 else None
    )
    report = run(Limits(memory_max_mb=need_mb)).report
    assert [r.batch_size for r in arithmetic.requests if r.worker == 0] == [128, 64, 32]
    assert {entry.memory_mb for entry in report.activations} == {need_mb}


def test_segments_that_end_early_are_continued_where_they_stopped(run, arithmetic):
    whole = run()

    def pause(outcome):
        def hook(request, samples):
            stop = min(len(samples), request.start_sample + 70)
            ending = "ok" if stop == len(samples) else outcome
            return arithmetic.answer(request, samples, stop, ending)

        return hook

    arithmetic.hooks = {0: pause("continued-time"), 1: pause("continued-memory")}
    cut = run()
    assert np.array_equal(cut.predictions.probabilities, whole.predictions.probabilities)
    by_worker = [[e for e in cut.report.activations if e.worker == w] for w in range(2)]
    assert [[e.outcome for e in own] for own in by_worker] == [
        ["continued-time", "continued-time", "ok"],
        ["continued-memory", "continued-memory", "ok"],
    ]
    assert [e.segment for e in by_worker[0]] == [0, 1, 2]
    assert {e.memory_mb for e in by_worker[0]} == {cut.report.plan.memory_mb}
    sizes = [e.memory_mb for e in by_worker[1]]
    assert sizes == sorted(set(sizes))
    assert cut.report.totals.failed == 0


def test_an_action_that_stays_lost_ends_the_run(run, arithmetic):
    arithmetic.hooks[0] = lambda request, samples: lost(900)
    with pytest.raises(ActivationFailed, match="exited unexpectedly"):
        run()
    [folder] = run.run_dir.iterdir()
    saved = json.loads((folder / "report.json").read_text())
    assert saved["status"] == "failed"
    assert saved["totals"]["failed"] == MAX_LOSSES
    assert saved["evaluation"] is None


def test_a_model_with_other_classes_is_refused(run, arithmetic):
    arithmetic.classes = 7
    with pytest.raises(UsageError, match="has 7 classes and digits has 10"):
        run()


def test_inputs_with_labels_are_scored_and_without_are_predicted(run, tmp_path):
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = digits.images[:30].astype(np.uint8)
    np.savez(tmp_path / "labelled.npz", x=x, y=digits.target[:30])
    np.savez(tmp_path / "plain.npz", x=x)
    labelled = run(input=tmp_path / "labelled.npz")
    plain = run(input=tmp_path / "plain.npz")
    assert labelled.report.accuracy is not None
    assert plain.report.accuracy is plain.report.evaluation is None
    assert [entry.true for entry in labelled.predictions] == [str(y) for y in digits.target[:30]]
    assert {entry.true for entry in plain.predictions} == {None}
    for left, right in zip(labelled.predictions, plain.predictions, strict=True):
        assert left.guesses == right.guesses
        assert left.input == right.input


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": np.zeros((3, 9, 9), np.uint8)}, r"samples of shape \(9, 9, 1\)"),
        ({"x": np.zeros((3, 8, 8), np.float32)}, "is float32"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": np.zeros(2, int)}, "3 samples and 2 labels"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": np.full(3, 0.5)}, "label '0.5' is none"),
        ({"x": np.zeros((3, 8, 8), np.uint8), "y": np.full(3, 10)}, "label '10' is none of"),
    ],
)
def test_inputs_that_do_not_fit_start_nothing(run, tmp_path, arrays, told):
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(UsageError, match=told):
        run(input=tmp_path / "odd.npz")
    assert not run.run_dir.exists()


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ({"top_k": 11}, "--top-k 11 is more than the 10 classes of digits"),
        ({"top_k": 0}, "--top-k must be at least 1"),
        ({"workers": 0}, "--workers must be from 1 to 10000"),
        ({"workers": 360}, "--workers 360 is more than the 359 samples"),
    ],
)
def test_what_cannot_be_asked_for_starts_nothing(run, job, told):
    with pytest.raises(UsageError, match=told):
        run(**job)
    assert not run.run_dir.exists()


def test_too_little_memory_starts_nothing(run):
    with pytest.raises(InsufficientMemory, match="an evaluate action needs"):
        run(Limits(memory_max_mb=256))
    assert not run.run_dir.exists()


def test_a_model_of_another_shape_or_format_starts_nothing(run, tmp_path):
    with pytest.raises(UsageError, match=r"takes samples of shape \(28, 28, 1\), and digits has"):
        run(model=str(keras_file(tmp_path / "other.keras", (28, 28, 1))))
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(UsageError, match="is no Keras file"):
        run(model=str(tmp_path / "text.keras"))
    assert not run.run_dir.exists()


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("nothing.txt", "nothing.txt does not exist; needed is a file that ends in .keras or "),
        ("nothing.keras", "nothing.keras does not exist"),
        ("some/where", "some/where does not exist; needed is a file"),
        ("pyproject.toml", "pyproject.toml is no model file; needed is a file that ends in"),
        ("nothing", "there is no run 'nothing' in"),
    ],
)
def test_what_names_no_model_starts_nothing(run, model, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        run(model=model)
    assert not run.run_dir.exists()


NUMBERS = """
import numpy as np
def load():
    x = np.arange(200, dtype=np.float32).reshape(50, 4)
    return x, x.sum(1)
"""


@pytest.fixture
def numbers(arithmetic, tmp_path, monkeypatch):
    """A job on numbers to predict, which the arithmetic model gets wrong by 3."""
    (tmp_path / "data.py").write_text(NUMBERS)

    def evaluate(request, samples):
        assert request.target.kind == "number"
        found = samples.read(0, len(samples)).sum(axis=1, keepdims=True) + 3
        rows = encoded_rows({"outputs": found}, slice(None))
        arithmetic.store.put_stream(request.output_key, rows)
        return messages.to_json(
            messages.EvaluateReply(outcome="ok", next_sample=len(found), peak_mb=300)
        )

    arithmetic.hooks = {0: evaluate, 1: evaluate}
    return {
        "dataset": f"{tmp_path}/data.py:load",
        "model": str(keras_file(tmp_path / "line.keras", (4,))),
    }


def test_numbers_have_errors_and_no_accuracy(run, numbers, tmp_path):
    done = run(**numbers)
    assert done.report.accuracy is None
    assert done.report.loss == done.report.evaluation.mean_squared_error == pytest.approx(9)
    saved = json.loads(done.folder.report.read_text())
    assert saved["evaluation"] == {
        "samples": len(done.predictions),
        "mean_squared_error": pytest.approx(9),
        "mean_absolute_error": pytest.approx(3),
    }
    np.testing.assert_allclose(done.predictions.numbers, done.predictions.true + 3)
    assert "evaluate" in render(read_report(done.folder.report))
    np.savez(tmp_path / "some.npz", x=np.ones((2, 4), np.float32), y=np.array([1, 10]))
    done = run(**numbers, input=tmp_path / "some.npz")
    assert done.predictions.true.tolist() == [1, 10]
    assert done.report.evaluation.mean_absolute_error == pytest.approx((6 + 3) / 2)


def test_of_numbers_there_are_no_further_guesses(run, numbers, tmp_path):
    with pytest.raises(UsageError, match="--top-k needs classes"):
        run(**numbers, top_k=2)
    np.savez(tmp_path / "odd.npz", x=np.ones((2, 4), np.float32), y=np.array([1, np.nan]))
    with pytest.raises(UsageError, match=r"labels are not all finite .nan"):
        run(**numbers, input=tmp_path / "odd.npz")
    assert not run.run_dir.exists()


def test_a_model_of_any_width_and_height_takes_these(run, tmp_path):
    model = keras_file(tmp_path / "any.keras", (None, None, 1))
    assert run(model=str(model)).report.status == "ok"


def test_the_plan_is_told_before_the_work(run):
    run()
    [made] = [event for event in run.events if isinstance(event, InferPlanMade)]
    assert made.samples == 359
    assert made.plan.workers == 2


def test_the_page_speaks_of_evaluate_actions(run):
    page = render(run().report)
    assert "of an evaluate action" in page
    assert "None:" not in page

"""Which samples train, which decide and which test: a score that decides is no test."""

from dataclasses import replace

import numpy as np
import pytest

from disdel.controller.training.splits import job_dataset, job_samples
from disdel.data import DatasetArrays, scaling_of
from disdel.errors import DatasetError
from disdel.report.html_report import render
from disdel.report.lines import round_heading, summary_lines
from disdel.report.plan_lines import plan_lines
from disdel.types import TrainJob, Validation
from disdel.types.events import PlanMade, RoundStarted
from tests.support.arithmetic import scores
from tests.support.specs import dataset_spec

DECIDING = [Validation(patience=2, every=3), Validation(target_accuracy=0.9)]


def arrays(samples=40, *, validation=0, numbers=False):
    """Samples that are told apart by their value; one in four is of class 1."""
    spec = dataset_spec(
        name="told_apart",
        version="1.0.0",
        input_shape=(1,),
        input_dtype="float32",
        classes=0 if numbers else 2,
        train_samples=samples,
        test_samples=5,
        validation_samples=validation,
    )

    def split(start, count):
        x = np.arange(start, start + count, dtype=np.float32)
        y = x if numbers else (x % 4 == 0).astype(np.int32)
        return x[:, np.newaxis], y

    own = split(2000, validation) if validation else (None, None)
    (train_x, train_y), (test_x, test_y) = split(0, samples), split(1000, 5)
    return DatasetArrays(
        spec=spec,
        train_x=train_x,
        train_y=train_y,
        test_x=test_x,
        test_y=test_y,
        validation_x=own[0],
        validation_y=own[1],
    )


def values(samples, split):
    held = samples.splits[split]
    return sorted(held.x[held.rows(slice(None)), 0].tolist())


@pytest.mark.parametrize("validation", DECIDING)
@pytest.mark.parametrize("numbers", [False, True])
def test_a_tenth_of_the_training_split_decides(validation, numbers):
    given = arrays(numbers=numbers)
    job = TrainJob(dataset="told_apart", validation=validation)
    samples = job_samples(given, job)
    trained, decided = values(samples, "train"), values(samples, "validation")
    assert sorted(trained + decided) == given.train_x[:, 0].tolist()
    assert len(decided) == samples.spec.validation_samples == 4
    assert len(trained) == samples.spec.train_samples
    assert values(samples, "test") == given.test_x[:, 0].tolist()
    assert replace(samples.spec, scaling=None) == job_dataset(given.spec, job)
    if not numbers:
        assert sum(value % 4 == 0 for value in decided) == 1


def test_the_seed_chooses_and_the_same_seed_the_same():
    jobs = [TrainJob(dataset="d", seed=seed, validation=DECIDING[0]) for seed in (0, 0, 1)]
    first, again, other = (values(job_samples(arrays(), job), "validation") for job in jobs)
    assert first == again != other


def test_a_validation_split_of_its_own_decides_and_nothing_is_held_out():
    given = arrays(validation=3)
    samples = job_samples(given, TrainJob(dataset="d", validation=DECIDING[0]))
    assert samples.spec == given.spec
    assert values(samples, "validation") == [2000, 2001, 2002]
    assert len(values(samples, "train")) == 40


@pytest.mark.parametrize("own", [0, 3])
def test_where_nothing_is_decided_nothing_is_held_out(own):
    given = arrays(validation=own)
    samples = job_samples(given, TrainJob(dataset="d"))
    assert samples.spec == given.spec
    assert samples.splits.keys() == {"train", "test"}


def test_one_sample_cannot_be_parted():
    with pytest.raises(DatasetError, match="to hold out a validation split at least 2 samples"):
        job_samples(arrays(1), TrainJob(dataset="d", validation=DECIDING[0]))


def test_means_are_those_of_the_samples_that_are_trained_on():
    given = arrays(numbers=True)
    scaling = scaling_of(given.train_x, given.train_y)
    given = replace(given, spec=replace(given.spec, scaling=scaling))
    samples = job_samples(given, TrainJob(dataset="d", validation=DECIDING[0]))
    assert samples.spec.scaling.mean == pytest.approx([np.mean(values(samples, "train"))])
    assert samples.spec.scaling.target_mean == samples.spec.scaling.mean


@pytest.fixture
def told_apart(arithmetic):
    """Scores that tell from which split they are: those of the test split are worse by 100."""
    scored = []
    plain = arithmetic.scored

    def score(weight, wanted):
        scored.append((wanted.round, wanted.shard_key.split(":")[-2]))
        told = plain(weight, wanted)
        if scored[-1][1] == "test":
            told = replace(told, loss_sum=told.loss_sum + 100 * told.samples, correct=1)
        return told

    arithmetic.scored = score
    return scored


def test_the_test_split_is_touched_once_by_the_finished_model(run, arithmetic, told_apart):
    arithmetic.loss_of = lambda weight: abs(3.2 - weight)
    report, folder = run(epochs=5, validation=Validation(patience=2))
    rounds = [number for number, split in told_apart if split == "validation"]
    assert rounds == sorted([1, 2, 3, 4] * 2)
    assert told_apart[-2:] == [(2, "test")] * 2
    assert len(told_apart) == len(rounds) + 2
    assert (report.model_round, arithmetic.exported) == (2, 3.0)
    assert (report.loss, report.accuracy) == (pytest.approx(100.2), 0.25)
    assert scores(report)[1][:2] == (pytest.approx(0.2), 0.5)
    assert report.scored_on == "validation"
    assert [(s.split, s.samples, s.held_out, s.use) for s in report.splits] == [
        ("train", 1295, False, "training"),
        ("validation", 143, True, "decisions"),
        ("test", 359, True, "result"),
    ]
    [planned] = [event for event in run.events if isinstance(event, PlanMade)]
    assert "1295 + 143 validation (held out) + 359 test (held out);" in plan_lines(planned)[0]
    [first] = [event for event in run.events if isinstance(event, RoundStarted) and event.first]
    assert "val loss   val acc" in round_heading(first.scored_on)
    lines = "\n".join(summary_lines(run.events[-1]))
    assert "test accuracy 0.2500  loss 100.2000" in lines
    assert "validation accuracy 0.5000  loss 0.2000 in round 2" in lines
    page = render(report)
    assert "validation accuracy</th>" in page
    assert "test accuracy</span>" in page
    assert report.plan.invocations > len(report.activations)
    assert folder.model.is_file()


def test_where_nothing_is_decided_rounds_are_scored_on_the_test_split(run, told_apart):
    report, _ = run(epochs=3)
    assert told_apart == [(number, "test") for number in (1, 1, 2, 2, 3, 3)]
    assert report.scored_on == "test"
    assert [(s.split, s.samples, s.use) for s in report.splits] == [
        ("train", 1438, "training"),
        ("test", 359, "rounds and result"),
    ]
    assert report.plan.invocations == len(report.activations)
    assert (report.loss, report.accuracy) == scores(report)[-1][:2]


def test_a_target_is_reached_on_the_validation_split(run, told_apart):
    report, _ = run(epochs=5, validation=Validation(target_accuracy=0.5))
    assert report.stopped == "validation accuracy 0.5000 has reached the target of 0.5"
    assert [split for _, split in told_apart] == ["validation"] * 2 + ["test"] * 2
    assert report.accuracy == 0.25


def test_a_run_that_ends_early_has_no_result_yet(run, arithmetic, told_apart):
    def fail(request):
        raise RuntimeError("the container burnt")

    arithmetic.hooks[0, 3] = fail
    with pytest.raises(Exception, match="burnt"):
        run(epochs=4, validation=Validation(patience=3))
    [ended] = [event for event in run.events if type(event).__name__ == "RunEnded"]
    assert ended.report.accuracy is ended.report.loss is None
    assert len(ended.report.rounds) == 2
    assert {split for _, split in told_apart} == {"validation"}

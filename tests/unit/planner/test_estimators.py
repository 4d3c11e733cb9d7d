"""Estimators against cases worked out by hand, and what is learned from earlier containers."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disdel.planner.calibration import calibrated, step_ratio, traced
from disdel.planner.estimators import MeasuredEstimator, SapEstimator, choose_estimator
from disdel.planner.memory import train_parts
from disdel.planner.observations import Observation
from disdel.runtimes.registry import TENSORFLOW, TORCH
from disdel.types import Aims, CallMemory
from disdel.types.units import MIB
from tests.support.planning import work

# Of the graph, a layer.
GRAPH = int(0.7 * MIB)
RUNTIME = dataclasses.replace(TENSORFLOW.costs, anonymous_mb=250, mapped_mb=350)


def observation(**changes):
    fields = {
        "model": "cnn-28x28x1-10",
        "batch_size": 64,
        "shard_samples": 20_000,
        "threads": 1,
        "predicted_mb": 100.0,
        "working_set_mb": 690,
    }
    return Observation(**(fields | changes))


def test_sap_on_the_thesis_network():
    # Convolution 1·3²·32 + 32 = 320; dense 13·13·32·128 + 128 = 692,352; dense 1,290: 693,962.
    # 20,000 samples at batch 64 are 313 steps: fit = 5 · 693,962 · 313.
    estimate = SapEstimator(RUNTIME).estimate(work())
    assert estimate.step == 5 * 693_962 * 313 == 1_086_050_530
    assert estimate.data == 20_000 * 784
    assert estimate.model == 4 * 693_962
    assert estimate.framework == 600 * MIB
    rest = estimate.step + estimate.data + estimate.model + estimate.framework
    assert estimate.margin == pytest.approx(rest / 10, abs=1)
    assert estimate.total == rest + estimate.margin


def test_weights_that_do_not_train_are_held_without_gradients_and_moments():
    before = work()
    constants = dataclasses.replace(before.model, constants=10**6)
    more = train_parts(dataclasses.replace(before, model=constants)).model
    # Of nine copies of a weight, one in three is its own.
    assert more - train_parts(before).model == pytest.approx(3 * 4 * 10**6, abs=4)


def test_sap_on_a_network_without_a_convolution():
    # Dense 64·500 + 500 = 32,500 and 500·10 + 10 = 5,010; 1,438 samples at batch 32 are 45 steps.
    estimate = SapEstimator(RUNTIME).estimate(
        work(shape=(64,), model="mlp", shard_samples=1438, batch_size=32, epochs=2)
    )
    assert estimate.step == 2 * 37_510 * 45 == 3_375_900
    assert estimate.data == 1438 * 64


def test_measured_without_history():
    estimate = MeasuredEstimator(RUNTIME, (), 1e-3).estimate(work())
    # Stored samples are a byte a pixel and four of label; nine copies of the weights.
    assert estimate.data == 22_500 * 788
    assert estimate.model == 9 * 4 * 693_962
    # Scoring 128 samples takes more than training on 64: three times the convolution's output of
    # 26·26·32 floats; and the graph of five layers.
    assert estimate.step == 128 * 21_632 * 4 * 3 + 5 * GRAPH
    predicted_mb = (estimate.data + estimate.model + estimate.step) / MIB
    assert estimate.margin / MIB == pytest.approx(16 + 0.05 * 600 + 0.2 * predicted_mb)


def test_a_larger_batch_takes_more_than_scoring():
    estimate = MeasuredEstimator(RUNTIME, (), 1e-3).estimate(work(batch_size=256))
    # Input 784, convolution 26·26·32, pool 13·13·32 twice (flattened), dense 128 and 10, which are
    # 33,370 floats; three times the largest; 32 batches of samples twice.
    floats = 33_370 + 3 * 21_632
    assert estimate.step == 256 * floats * 4 + 256 * 788 * 32 * 2 + 5 * GRAPH


def test_pytorch_holds_every_output_and_no_graph():
    parts = train_parts(work(batch_size=256, held=TORCH.costs.held))
    # The layers' outputs, without the input: 32,586 floats, of which it holds 1.2 times.
    assert parts.step == 256 * (39_104 + 3 * 21_632) * 4 + 256 * 788 * 32 * 2
    assert parts.model == 7 * 4 * 693_962


def test_what_the_compiler_said_stands_for_what_sizes_say():
    # Blocks of 32 batches are held beside a training step, twice; none while scoring.
    blocks = 64 * 788 * 32 * 2
    for train, score, fit in ((10**8, 10**7, 10**8 + blocks), (10**6, 10**8, 10**8)):
        calls = CallMemory(train_bytes=train, score_bytes=score)
        assert train_parts(work(calls=calls)).step == fit


def test_history_of_the_same_network_narrows_the_margin():
    def margin_mb(*observations):
        return MeasuredEstimator(RUNTIME, observations, 1e-3).estimate(work()).margin / MIB

    seen = [observation(working_set_mb=710) for _ in range(8)]
    assert margin_mb(*seen) < margin_mb(seen[0]) < margin_mb()


def test_history_of_another_network_only_widens_it():
    def margin_mb(*observations):
        return MeasuredEstimator(RUNTIME, observations, 1e-3).estimate(work()).margin

    other = observation(model="mlp-64-10")
    assert margin_mb(*[other] * 50) == margin_mb()
    assert margin_mb(*[dataclasses.replace(other, working_set_mb=1200)] * 50) > margin_mb()


@pytest.mark.parametrize("model", ["cnn-28x28x1-10", "mlp-64-10"])
def test_what_a_users_code_holds_is_planned_for_where_it_loads_samples(model):
    def margin_mb(*observations, **changes):
        estimator = MeasuredEstimator(RUNTIME, observations, 1e-3)
        return estimator.estimate(work(**changes)).margin / MIB

    large = observation(model=model, working_set_mb=1200, loads=True)
    assert margin_mb(large) == margin_mb()
    assert margin_mb(large, loads=True) > 500


def test_the_margin_holds_what_was_measured():
    above = [observation(working_set_mb=size) for size in (760, 790, 840)]
    estimate = MeasuredEstimator(RUNTIME, above, 1e-3).estimate(work())
    assert (estimate.total - estimate.margin) / MIB + 140 <= estimate.total / MIB


@given(
    samples=st.integers(1, 100_000),
    batch=st.integers(1, 1024),
    more=st.integers(0, 10_000),
    name=st.sampled_from(["measured", "sap"]),
)
def test_an_estimate_grows_with_the_shard(samples, batch, more, name):
    estimator = choose_estimator(Aims(estimator=name), RUNTIME, ())

    def total(samples):
        return estimator.estimate(work(shard_samples=samples, batch_size=batch)).total

    assert total(samples + more) >= total(samples)


@given(batch=st.integers(1, 1024), more=st.integers(0, 1024))
def test_measured_grows_with_the_batch(batch, more):
    assert (
        train_parts(work(batch_size=batch + more)).step >= train_parts(work(batch_size=batch)).step
    )


def test_mixed_precision_takes_less_a_sample_and_half_a_copy_of_the_weights_more():
    exact, mixed = (
        train_parts(work(batch_size=256, precision=precision))
        for precision in ("float32", "bfloat16")
    )
    # Of 33,370 + 3 · 21,632 floats a sample, see above.
    assert exact.step - mixed.step == pytest.approx(0.2 * 256 * (33_370 + 3 * 21_632) * 4, abs=256)
    assert mixed.model - exact.model == 2 * 693_962
    assert mixed.data == exact.data


def test_precisions_do_not_teach_each_other():
    slow = observation(working_set_mb=690, step_s=0.02, shipped_step_s=0.01)
    fast = dataclasses.replace(
        slow, working_set_mb=400, step_s=0.005, precision="bfloat16", predicted_mb=90.0
    )

    def margin_mb(observations, precision):
        estimator = MeasuredEstimator(RUNTIME, observations, 1e-3)
        return estimator.estimate(work(precision=precision)).margin / MIB

    assert margin_mb([slow] * 9 + [fast] * 9, "float32") == margin_mb([slow] * 9, "float32")
    # What was seen in the other precision may widen a margin, as another network's may.
    unseen = margin_mb([], "bfloat16")
    assert margin_mb([slow] * 9, "bfloat16") == pytest.approx(unseen, rel=0.01)
    speed = RUNTIME.multiply_adds_per_s
    assert calibrated(RUNTIME, [slow, fast]).multiply_adds_per_s == speed / 2
    assert calibrated(RUNTIME, [slow, fast], "bfloat16").multiply_adds_per_s == speed * 2


def test_a_runtime_is_what_was_observed_of_it():
    seen = [
        observation(
            framework_anonymous_mb=anonymous,
            framework_mapped_mb=300,
            cold_start_s=9.0,
            step_s=0.02,
            shipped_step_s=0.01,
        )
        for anonymous in (180, 200, 280)
    ]
    runtime = calibrated(RUNTIME, seen)
    assert (runtime.anonymous_mb, runtime.mapped_mb) == (200 + 20, 300 + 9)
    assert runtime.cold_start_s == 9.0
    assert runtime.multiply_adds_per_s == RUNTIME.multiply_adds_per_s / 2


def test_what_was_not_observed_stays_as_shipped():
    assert calibrated(RUNTIME, ()) == RUNTIME
    assert step_ratio([observation()]) is None


def test_a_network_is_traced_as_it_was_before():
    def traced_s(*observations):
        runtime = traced(RUNTIME, observations)
        return runtime.trace_s + 10 * runtime.trace_layer_s

    assert traced_s() == traced_s(observation()) == RUNTIME.trace_s + 10 * RUNTIME.trace_layer_s
    seen = [observation(trace_s=seconds) for seconds in (1.0, 2.0, 9.0)]
    assert traced_s(*seen) == 2.0

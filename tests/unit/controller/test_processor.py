"""How fast the processor is, measured once and kept."""

import json

import pytest
from threadpoolctl import threadpool_info

from disdel.controller.planning import history, planning, processor
from disdel.runtimes.registry import runtime_named
from disdel.settings import Settings


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))
    return tmp_path / "processor.json"


HERE = Settings(platform="embedded")
# GFLOP/s of packed products and GB/s of passes that one core of a Zen 4 has, and one of a Zen 5,
# whose products PyTorch and TensorFlow compute at this rate (docs/measurements.md). A step of the
# default network takes TensorFlow 5.8 ms on the one and 3.8 on the other.
ZEN_4, ZEN_5, ZEN_5_OF_ZEN_4 = (104.3, 21.9), (246.0, 26.5), 3.8 / 5.8


def found_at(monkeypatch, state, gflops, gb_s):
    """The slowness of a processor that computes and passes so fast."""
    state.unlink(missing_ok=True)
    parts = processor._STEP_FLOP / gflops / 1e9, processor._STEP_BYTES / gb_s / 1e9
    monkeypatch.setattr(processor, "step_parts_s", lambda: parts)
    return processor.slowness(HERE)


def test_what_was_measured_is_kept_for_the_processor(state, monkeypatch):
    found = processor.slowness(HERE)
    assert 0.01 < found.steps < 100
    assert 0.01 < found.rest < 100
    monkeypatch.setattr(processor, "step_parts_s", lambda: (1000.0, 1000.0))
    assert processor.slowness(HERE) == found
    kept = json.loads(state.read_text())
    state.write_text(json.dumps({**kept, "processor": ["another", 2]}))
    assert min(processor.slowness(HERE).steps, processor.slowness(HERE).rest) > 1000


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {"steps": 2, "rest": 2},
        {"processor": [], "steps": 2, "rest": 2},
        {"processor": "mine", "slowness": 2},
        {"processor": "mine", "steps": 2},
        {"processor": "mine", "steps": "x", "rest": 2},
        {"processor": "mine", "steps": 2, "rest": 0},
        {"processor": "mine", "steps": float("nan"), "rest": 2},
        {"processor": "mine", "steps": float("inf"), "rest": 2},
    ],
)
def test_a_broken_file_is_measured_anew(state, monkeypatch, values):
    found = found_at(monkeypatch, state, *ZEN_4)
    good = state.read_text()
    if isinstance(values, dict) and values.get("processor") == "mine":
        values = {**values, "processor": json.loads(good)["processor"]}
    state.write_text("" if values is None else json.dumps(values))
    assert processor.slowness(HERE) == found
    assert state.read_text() == good


def test_of_the_processors_of_a_cluster_nothing_is_known(state):
    settings = Settings(platform="openwhisk", apihost="http://127.0.0.1:1", auth="a:b")
    assert processor.slowness(settings) == processor.Slowness(1.0, 1.0)
    assert not state.exists()


def test_steps_follow_products_and_passes_and_the_rest_passes_alone(state, monkeypatch):
    one = found_at(monkeypatch, state, 100, 20)
    products = found_at(monkeypatch, state, 200, 20)
    assert products.steps < one.steps
    assert products.rest == one.rest
    passes = found_at(monkeypatch, state, 100, 40)
    assert passes.steps < one.steps
    assert passes.rest == pytest.approx(one.rest / 2, abs=1e-3)
    both = found_at(monkeypatch, state, 200, 40)
    assert both.steps == pytest.approx(one.steps / 2, abs=1e-3)


def test_processors_of_one_name_are_as_far_apart_as_their_steps(state, monkeypatch):
    slow, fast = (found_at(monkeypatch, state, *one) for one in (ZEN_4, ZEN_5))
    assert slow.steps == pytest.approx(1, rel=0.1)
    assert fast.steps / slow.steps == pytest.approx(ZEN_5_OF_ZEN_4, rel=0.1)
    # Starts: 3.1 s of a cold command in place of 3.9.
    assert fast.rest / slow.rest == pytest.approx(3.1 / 3.9, rel=0.1)


def test_products_are_measured_on_one_thread(monkeypatch):
    seen = []

    def multiply(left, right, out):
        seen.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return out

    monkeypatch.setattr(processor, "_SPENT_S", 1e-3)
    monkeypatch.setattr(processor.np, "matmul", multiply)
    processor.step_parts_s()
    assert seen
    assert set(seen) == {1}


CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: {family}
model\t\t: 17
model name\t: AMD EPYC
cpu MHz\t\t: {mhz}

processor\t: 1
cpu family\t: 6
model name\t: another
"""


def test_processors_of_one_name_are_told_apart(monkeypatch):
    def named(**values):
        monkeypatch.setattr(history.Path, "read_text", lambda *_, **__: CPUINFO.format(**values))
        return history.processor_name()

    assert named(family=25, mhz=2596.13) == named(family=25, mhz=3700.0)
    assert named(family=25, mhz=2596.13) != named(family=26, mhz=2596.13)


def test_a_precision_is_tried_where_it_is_open_and_the_processor_has_both(monkeypatch):
    here = Settings(platform="embedded")
    there = Settings(platform="openwhisk", apihost="http://127.0.0.1:1", auth="a:b")
    monkeypatch.setattr(planning, "has_bfloat16", lambda: True)
    assert planning._tries(None, here)
    others = (("float32", here), ("bfloat16", here), (None, there))
    assert not any(planning._tries(*other) for other in others)
    monkeypatch.setattr(planning, "has_bfloat16", lambda: False)
    assert not planning._tries(None, here)


def test_steps_that_may_be_in_bfloat16_are_planned_shorter_where_the_processor_has_it(monkeypatch):
    here = Settings(platform="embedded")
    there = Settings(platform="openwhisk", apihost="http://127.0.0.1:1", auth="a:b")
    runtime = runtime_named("tensorflow")
    share = runtime.costs.bfloat16_share
    assert share < 1
    for has, expected in ((True, [share, share, 1.0]), (False, [1.0, 1.0, 1.0])):
        monkeypatch.setattr(planning, "has_bfloat16", lambda has=has: has)
        asked = (None, "bfloat16", "float32")
        assert [planning._share(runtime, one, here) for one in asked] == expected
        assert [planning._share(runtime, one, there) for one in asked] == [1.0] * 3

"""How fast the processor is, measured once and kept."""

import json

import pytest

from disdel.controller.planning import planning, processor
from disdel.runtimes.registry import runtime_named
from disdel.settings import Settings


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path))
    return tmp_path / "processor.json"


def test_what_was_measured_is_kept_for_the_processor(state, monkeypatch):
    found = processor.slowness(Settings(platform="embedded"))
    assert 0.01 < found < 100
    monkeypatch.setattr(processor, "step_like_s", lambda: 1000.0)
    assert processor.slowness(Settings(platform="embedded")) == found
    kept = json.loads(state.read_text())
    state.write_text(json.dumps({**kept, "processor": ["another", 2]}))
    assert processor.slowness(Settings(platform="embedded")) > 1000


@pytest.mark.parametrize(
    "text", ["", "[]", '{"slowness": 2}', '{"slowness": "x", "processor": []}']
)
def test_a_broken_file_is_measured_anew(state, monkeypatch, text):
    monkeypatch.setattr(processor, "step_like_s", lambda: 2 * processor._SHIPPED_S)
    state.write_text(text)
    assert processor.slowness(Settings(platform="embedded")) == 2.0
    assert json.loads(state.read_text())["slowness"] == 2.0


def test_of_the_processors_of_a_cluster_nothing_is_known(state):
    settings = Settings(platform="openwhisk", apihost="http://127.0.0.1:1", auth="a:b")
    assert processor.slowness(settings) == 1.0
    assert not state.exists()


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

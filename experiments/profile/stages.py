"""The wall time of a run by stages, each moment counted once, from its saved report."""

from itertools import pairwise

from disdel.planner.memory import BLOCK_STEPS
from disdel.types.report_json import report_from_json
from disdel.types.timeline import spans

# At a moment at which several happen, the first of these counts: the steps are what a run is for.
ORDER = (
    "steps",
    "trace",
    "load and trial",
    "build",
    "data",
    "import",
    "init",
    "average",
    "score",
    "store",
    "container start",
    "invoke and reply",
)
_NAMES = {
    "wait": "container start",
    "init": "init",
    "import": "import",
    "data": "data",
    "build": "build",
    "load": "load and trial",
    "train": "steps",
    "average": "average",
    "score": "score",
    "store": "store",
    "run": "invoke and reply",
    "reply": "invoke and reply",
}


def stages_of(report_json, wall_s):
    """Seconds of each stage; "controller" is what no activation has anything to do with."""
    report = report_from_json(report_json)
    every = [
        part for activation in report.activations for part in named_spans(activation, report.plan)
    ]
    edges = sorted({edge for _, start, stop in every for edge in (start, stop)})
    found = dict.fromkeys(ORDER, 0.0)
    for left, right in pairwise(edges):
        running = {name for name, start, stop in every if start <= left and right <= stop}
        name = next((name for name in ORDER if name in running), None)
        if name is not None:
            found[name] += (right - left) / 1000
    return {**found, "controller": wall_s - sum(found.values())}


def named_spans(activation, plan):
    """The spans of an activation as (stage, start ms, stop ms); the first block is cut in two."""
    for span in spans(activation):
        name, start_ms = _NAMES[span.stage], span.start_ms
        phases = activation.phases
        if span.stage == "wait" and activation.start == "warm":
            name = "invoke and reply"
        if span.stage == "train" and activation.start == "cold" and phases.stepped_ms is not None:
            # What its first block took beyond its steps at the speed of the others.
            block = min(BLOCK_STEPS // plan.micro_batches, activation.steps)
            rest = max(1, activation.steps - block)
            step_ms = (phases.computed_ms - phases.stepped_ms) / rest
            traced_ms = max(0.0, phases.stepped_ms - phases.loaded_ms - block * step_ms)
            yield "trace", start_ms, min(span.stop_ms, start_ms + traced_ms)
            start_ms = min(span.stop_ms, start_ms + traced_ms)
        yield name, start_ms, span.stop_ms

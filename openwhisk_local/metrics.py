"""What Prometheus may ask: counts and times of activations, in the names of OpenWhisk's metrics.

They are those of core/monitoring/user-events, by action. Of many actions only those that were
active last are counted.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from openwhisk_local.invoking.activations import Record
from openwhisk_local.limits import MAX_PAYLOAD_BYTES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_ACTIONS = 1000

_STATUSES = ("success", "application_error", "action_developer_error", "whisk_internal_error")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_BYTES = tuple(step * MAX_PAYLOAD_BYTES for step in range(10))


@dataclass(slots=True)
class _Histogram:
    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        below = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {below}'
        yield f"{name}_count{{{labels}}} {below}"
        yield f"{name}_sum{{{labels}}} {self.total}"


@dataclass(slots=True)
class _Action:
    """What is counted of one action, with what tells it from others in `labels`."""

    labels: str
    activations: dict[str, int] = field(default_factory=dict)
    cold_starts: int = 0
    statuses: list[int] = field(default_factory=lambda: [0] * len(_STATUSES))
    memory_mb: int = 0
    wait_time: _Histogram = field(default_factory=lambda: _Histogram(_SECONDS))
    init_time: _Histogram = field(default_factory=lambda: _Histogram(_SECONDS))
    duration: _Histogram = field(default_factory=lambda: _Histogram(_SECONDS))
    size: _Histogram = field(default_factory=lambda: _Histogram(_BYTES))

    def count(self, record: Record) -> None:
        facts = record.annotations
        self.memory_mb = (facts.get("limits") or {}).get("memory", 0)
        kind = _labels(kind=str(facts.get("kind", "")), memory=str(self.memory_mb))
        self.activations[kind] = self.activations.get(kind, 0) + 1
        self.statuses[record.response.code] += 1
        self.wait_time.observe(facts.get("waitTime", 0) / 1000)
        self.duration.observe((record.duration_ms or 0) / 1000)
        if "initTime" in facts:
            self.cold_starts += 1
            self.init_time.observe(facts["initTime"] / 1000)
        if record.response.size_bytes is not None:
            self.size.observe(record.response.size_bytes)


class Metrics:
    """Counts activations."""

    def __init__(self) -> None:
        self._actions: OrderedDict[str, _Action] = OrderedDict()

    def count(self, record: Record) -> None:
        """Count an activation that has ended; the firing of a trigger is none."""
        path = str(record.annotations.get("path", ""))
        if not path:
            return
        namespace, _, action = path.partition("/")
        if path not in self._actions:
            labels = _labels(namespace=namespace, initiator=record.namespace, action=action)
            self._actions[path] = _Action(labels)
        self._actions.move_to_end(path)
        self._actions[path].count(record)
        if len(self._actions) > MAX_ACTIONS:
            self._actions.popitem(last=False)

    def text(self, namespace: str, *, per_minute: int, at_once: int) -> str:
        """The page; the arguments are how often each limit has refused something."""
        actions = [*self._actions.values()]
        lines: list[str] = []

        def family(name: str, kind: str, samples: Iterator[str]) -> None:
            lines.extend((f"# TYPE {name} {kind}", *samples))

        family(
            "openwhisk_action_activations_total",
            "counter",
            (
                f"openwhisk_action_activations_total{{{a.labels},{kind}}} {count}"
                for a in actions
                for kind, count in a.activations.items()
            ),
        )
        family(
            "openwhisk_action_coldStarts_total",
            "counter",
            (f"openwhisk_action_coldStarts_total{{{a.labels}}} {a.cold_starts}" for a in actions),
        )
        family(
            "openwhisk_action_status",
            "counter",
            (
                f'openwhisk_action_status{{{a.labels},status="{status}"}} {count}'
                for a in actions
                for status, count in zip(_STATUSES, a.statuses, strict=True)
            ),
        )
        family(
            "openwhisk_action_memory",
            "gauge",
            (f"openwhisk_action_memory{{{a.labels}}} {a.memory_mb}" for a in actions),
        )
        for name, histogram in (
            ("openwhisk_action_waitTime_seconds", "wait_time"),
            ("openwhisk_action_initTime_seconds", "init_time"),
            ("openwhisk_action_duration_seconds", "duration"),
            ("openwhisk_action_response_size_bytes", "size"),
        ):
            samples = (
                line for a in actions for line in getattr(a, histogram).lines(name, a.labels)
            )
            family(name, "histogram", samples)
        for name, refused in (
            ("openwhisk_action_limit_timed_total", per_minute),
            ("openwhisk_action_limit_concurrent_total", at_once),
        ):
            family(name, "counter", iter([f"{name}{{{_labels(namespace=namespace)}}} {refused}"]))
        return "\n".join(lines) + "\n"


def _labels(**labels: str) -> str:
    # Names hold neither quotation marks nor backslashes nor newlines.
    return ",".join(f'{name}="{text}"' for name, text in labels.items())

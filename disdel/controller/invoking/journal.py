"""What a run has done so far: its activations, and the sums over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

from disdel.controller.invoking.measured import Measured
from disdel.types import (
    Activation,
    ActivationRecord,
    EndpointPlan,
    EndpointReport,
    Outcome,
    Times,
    Totals,
)


@dataclass(slots=True)
class Journal:
    """The activations of a run in the order in which they ended."""

    activations: list[Activation] = field(default_factory=list)
    overtaken: int = 0

    def note(
        self,
        record: ActivationRecord,
        *,
        action: str,
        endpoint: str | None = None,
        task: str,
        worker: int | None,
        client: int | None,
        clients: tuple[int, ...] = (),
        round_number: int,
        segment: int,
        attempt: int,
        memory_mb: int,
        outcome: Outcome,
        times: Times,
        measured: Measured,
    ) -> Activation:
        """Add an ended activation."""
        activation = Activation(
            id=record.id,
            action=action,
            endpoint=endpoint,
            task=task,
            worker=worker,
            client=client,
            clients=clients,
            round=round_number,
            segment=segment,
            attempt=attempt,
            memory_mb=memory_mb,
            start="warm" if record.init_ms is None else "cold",
            wait_ms=record.wait_ms,
            init_ms=record.init_ms or 0,
            duration_ms=record.duration_ms,
            outcome=outcome,
            times=times,
            **{part.name: getattr(measured, part.name) for part in fields(measured)},
        )
        self.activations.append(activation)
        return activation

    def totals(self) -> Totals:
        """The sums so far."""
        return total(self.activations, overtaken=self.overtaken)


def total(activations: Sequence[Activation], *, overtaken: int = 0) -> Totals:
    """Sums over activations. A cold start is a container that was created.

    Args:
        activations: that have ended.
        overtaken: those besides whose copy was faster, and whose end nobody has heard of.
    """
    cold = [activation for activation in activations if activation.start == "cold"]
    failed = [a for a in activations if a.outcome in ("oom", "timeout", "error")]
    gb_ms = sum(a.memory_mb / 1024 * a.duration_ms for a in activations)
    return Totals(
        containers=len(cold),
        cold=len(cold),
        restarted=sum(a.attempt > 0 for a in activations),
        failed=len(failed),
        overtaken=overtaken,
        failure_rate=len(failed) / len(activations) if activations else 0.0,
        memory_mb=sum(a.memory_mb for a in cold),
        gb_s=round(gb_ms / 1000, 3),
        init_s=round(sum(a.init_ms for a in cold) / 1000, 3),
    )


def endpoint_report(
    endpoint: str,
    platform: str,
    activations: Sequence[Activation],
    usd: Callable[[float, int], float] | None,
) -> EndpointReport:
    """What an endpoint has done of a run's activations.

    Args:
        endpoint: its name.
        platform: the name of its platform.
        activations: of the run.
        usd: what so many GB·s and so many activations cost there; None where nobody has said.
    """
    there = [one for one in activations if one.endpoint == endpoint]
    sums = total(there)
    return EndpointReport(
        endpoint=endpoint,
        platform=platform,
        containers=sums.containers,
        activations=len(there),
        failed=sums.failed,
        gb_s=sums.gb_s,
        init_s=sums.init_s,
        usd=None if usd is None else usd(sums.gb_s, len(there)),
    )


def endpoint_reports(
    plans: Sequence[EndpointPlan], activations: Sequence[Activation]
) -> tuple[EndpointReport, ...]:
    """The same of each endpoint that a plan has."""
    return tuple(
        endpoint_report(one.endpoint, one.platform, activations, _price_of(one)) for one in plans
    )


def _price_of(plan: EndpointPlan) -> Callable[[float, int], float] | None:
    per_gb_s, per_invocation = plan.usd_per_gb_s, plan.usd_per_invocation
    if per_gb_s is None or per_invocation is None:
        return None
    return lambda gb_s, count: gb_s * per_gb_s + count * per_invocation

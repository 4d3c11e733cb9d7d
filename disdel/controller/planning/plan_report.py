"""Plans as reports tell of them."""

from __future__ import annotations

from typing import Any

from disdel.types import Estimate, InferPlan, Plan, PlanReport, ShardReport
from disdel.types.units import MIB


def plan_report(plan: Plan | InferPlan) -> PlanReport:
    """What a report, and `disdel plan --json`, tell of a plan."""
    return PlanReport(
        workers=plan.workers,
        memory_mb=plan.memory_mb,
        timeout_s=plan.timeout_s,
        threads=plan.threads,
        predicted_s=plan.predicted_s,
        gb_s=plan.gb_s,
        estimate_mb=_estimate_mb(plan.estimate),
        invocations=plan.invocations,
        optimize=plan.optimize,
        basis=plan.basis,
        reasons=plan.reasons,
        **(_of_training(plan) if isinstance(plan, Plan) else _of_inference(plan)),
    )


def _of_training(plan: Plan) -> dict[str, Any]:
    return {
        "runtime": plan.runtime,
        "collect_memory_mb": plan.collect_memory_mb,
        "fan_in": plan.fan_in,
        "micro_batches": plan.micro_batches,
        "rounds": plan.rounds,
        "shards": tuple(
            ShardReport(worker=worker, client=client, samples=plan.client_samples[client])
            for worker, clients in enumerate(plan.turns)
            for client in clients
        ),
        "estimator": plan.estimator,
        "zones_mb": plan.zones,
        "considered": plan.considered,
        "gpu_memory_mb": plan.gpu_memory_mb,
        "score_every": plan.score_every,
        "throttled_s": plan.throttled_s,
        "endpoints": plan.endpoints,
        "sizes": plan.sizes,
    }


def _of_inference(plan: InferPlan) -> dict[str, Any]:
    return {
        # One fork and one join.
        "rounds": 1,
        "batch_size": plan.batch_size,
        "shards": tuple(
            ShardReport(worker=part.worker, samples=part.samples) for part in plan.slices
        ),
        "endpoints": plan.endpoints,
    }


def _estimate_mb(estimate: Estimate) -> dict[str, float]:
    """MB by the thesis's names of the parts."""
    parts = {
        "pkg": estimate.framework,
        "dta": estimate.data,
        "mod": estimate.model,
        "fit": estimate.step,
        "saf": estimate.margin,
        "total": estimate.total,
    }
    return {name: round(value / MIB, 1) for name, value in parts.items()}

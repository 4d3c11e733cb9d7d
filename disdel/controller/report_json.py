"""The wire form of a report: what `--json` prints and `report.json` holds.

Version 1. Fields may be added; those that are here stay.
"""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

from disdel.types import (
    Activation,
    Estimate,
    Evaluation,
    InferPlan,
    NumberEvaluation,
    Plan,
    RoundReport,
    RunReport,
    Shard,
    Totals,
)
from disdel.units import MIB

REPORT_VERSION = 1
# Of more, a report has no confusion matrix: the file beside it has.
MOST_CLASSES = 100
CONFUSION_NAME = "confusion.csv"


def report_to_json(report: RunReport) -> dict[str, Any]:
    """The report as a JSON object."""
    return {
        "version": REPORT_VERSION,
        "run": report.run,
        "job": report.job,
        "dataset": report.dataset,
        "platform": report.platform,
        "status": report.status,
        "error": None if report.error is None else asdict(report.error),
        "accuracy": report.accuracy,
        "loss": report.loss,
        "wall_s": round(report.wall_s, 3),
        "model": report.model,
        "settings": dict(report.settings),
        "plan": _plan(report.plan),
        "rounds": [_round(entry) for entry in report.rounds],
        "activations": [_activation(entry) for entry in report.activations],
        "ledger": [asdict(entry) for entry in report.ledger],
        "totals": None if report.totals is None else _totals(report.totals),
        "model_round": report.model_round,
        "stopped": report.stopped,
        "resumed_after": report.resumed_after,
        "evaluation": None if report.evaluation is None else _evaluation(report.evaluation),
    }


def _plan(plan: Plan | InferPlan | None) -> dict[str, Any] | None:
    if isinstance(plan, InferPlan):
        return _infer_plan(plan)
    return None if plan is None else plan_to_json(plan)


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as a JSON object, as `disdel plan --json` prints it."""
    return {
        "runtime": plan.runtime,
        "workers": plan.workers,
        "memory_mb": plan.memory_mb,
        "collect_memory_mb": plan.collect_memory_mb,
        "fan_in": plan.fan_in,
        "micro_batches": plan.micro_batches,
        "rounds": plan.rounds,
        "timeout_s": plan.timeout_s,
        "threads": plan.threads,
        "predicted_s": plan.predicted_s,
        "gb_s": plan.gb_s,
        "shards": [_shard(shard) for shard in plan.shards],
        "estimate_mb": _estimate_mb(plan.estimate),
        "invocations": plan.invocations,
        "optimize": plan.optimize,
        "estimator": plan.estimator,
        "basis": plan.basis,
        "zones_mb": asdict(plan.zones),
        "considered": [asdict(option) for option in plan.considered],
        "reasons": list(plan.reasons),
        "gpu_memory_mb": plan.gpu_memory_mb,
        "score_every": plan.score_every,
        "throttled_s": plan.throttled_s,
    }


def _infer_plan(plan: InferPlan) -> dict[str, Any]:
    return {
        "workers": plan.workers,
        "memory_mb": plan.memory_mb,
        # One fork and one join.
        "rounds": 1,
        "timeout_s": plan.timeout_s,
        "threads": plan.threads,
        "batch_size": plan.batch_size,
        "predicted_s": plan.predicted_s,
        "gb_s": plan.gb_s,
        "shards": [_shard(shard) for shard in plan.shards],
        "estimate_mb": _estimate_mb(plan.estimate),
        "invocations": plan.invocations,
        "optimize": plan.optimize,
        "basis": plan.basis,
        "reasons": list(plan.reasons),
    }


def _estimate_mb(estimate: Estimate) -> dict[str, float]:
    parts = {**asdict(estimate), "total": estimate.total}
    return {name: round(value / MIB, 1) for name, value in parts.items()}


def _evaluation(evaluation: Evaluation | NumberEvaluation) -> dict[str, Any]:
    if isinstance(evaluation, NumberEvaluation):
        return asdict(evaluation)
    whole = len(evaluation.classes) <= MOST_CLASSES
    return {
        "top_k": evaluation.top_k,
        "top_k_accuracy": evaluation.top_k_accuracy,
        "classes": [asdict(score) for score in evaluation.classes],
        "confusion": [list(row) for row in evaluation.confusion] if whole else None,
        "confusion_file": None if whole else CONFUSION_NAME,
    }


def write_confusion(folder: Path, evaluation: Evaluation) -> None:
    """Write the matrix that is too large for a report, a line for each pair that has samples."""
    if len(evaluation.classes) <= MOST_CLASSES:
        return
    with (folder / CONFUSION_NAME).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("true", "predicted", "samples"))
        for true, row in enumerate(evaluation.confusion):
            rows.writerows((true, predicted, n) for predicted, n in enumerate(row) if n)


def _shard(shard: Shard) -> dict[str, Any]:
    return {"worker": shard.worker, "samples": shard.samples}


def _round(entry: RoundReport) -> dict[str, Any]:
    return {
        "round": entry.round,
        "wall_s": round(entry.wall_s, 3),
        "train_loss": entry.train_loss,
        "loss": None if entry.score is None else entry.score.loss,
        "accuracy": None if entry.score is None else entry.score.accuracy,
        "metrics": {} if entry.score is None else dict(entry.score.metrics),
    }


def _activation(entry: Activation) -> dict[str, Any]:
    return asdict(entry)


def _totals(totals: Totals) -> dict[str, Any]:
    return asdict(totals)

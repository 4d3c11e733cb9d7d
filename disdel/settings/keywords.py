"""The settings as keywords of `disdel.train` and its like, for type checkers and editors.

`scripts/generate` writes this file from the fields that declare the settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from numpy.typing import NDArray

from disdel.strategies.base import Strategy


class TrainOptions(TypedDict, total=False):
    """Written by `scripts/generate`."""

    batch: int
    model: str
    runtime: str | None
    precision: Literal["auto"] | Literal["float32", "bfloat16"] | None
    optimizer: str | None
    learning_rate: float | None
    seed: int
    partition: str
    schedule: Literal["constant", "cosine", "linear"]
    warmup: float
    scale_rate: Literal["none", "sqrt", "linear"]
    validate_every: int | None
    target_accuracy: float | None
    patience: int | None
    average: Literal["samples", "equal", "epochs"]
    strategy: Strategy | str
    outer: Strategy | str | None
    epochs: int
    workers: Literal["auto"] | int | None
    sync: Literal["epoch", "once"] | int
    fan_in: Literal["auto"] | int | None
    clients: int | None
    workers_policy: Literal["fixed", "adapt"]
    workers_max: int | None
    optimizer_state: Literal["reset", "local", "average"]
    memory_max: int | None
    pool_memory: int | None
    gpu_memory: Literal["auto", "off"] | int | None
    timeout_max: float | None
    limits: Literal["roomy", "stock", "digitalocean"] | None
    optimize: Literal["time", "cost", "memory"]
    estimator: Literal["measured", "sap"]
    miss_rate: float
    platform: str | None
    fabric: Path | str | None
    place: Literal["time", "price"] | None
    apihost: str | None
    auth: str | None
    insecure: bool
    redis: str | None
    store: str | None
    signing_key: Path | str | None
    patience_network: float
    image_prefix: str
    image_tag: str
    action_env: Sequence[str]
    platform_option: Sequence[str]
    arch: str
    data_dir: Path | str
    run_dir: Path | str
    keep: bool


class FederateOptions(TypedDict, total=False):
    """Written by `scripts/generate`."""

    batch: int
    model: str
    runtime: str | None
    precision: Literal["auto"] | Literal["float32", "bfloat16"] | None
    optimizer: str | None
    learning_rate: float | None
    seed: int
    partition: str
    schedule: Literal["constant", "cosine", "linear"]
    warmup: float
    scale_rate: Literal["none", "sqrt", "linear"]
    validate_every: int | None
    target_accuracy: float | None
    patience: int | None
    average: Literal["samples", "equal", "epochs"]
    strategy: Strategy | str
    outer: Strategy | str | None
    clients: int | None
    clients_per_round: float | None
    rounds: int
    local_epochs: Sequence[float | str] | NDArray[Any] | float | str
    client_batch: Sequence[float | str] | NDArray[Any] | float | str | None
    client_rate: Sequence[float | str] | NDArray[Any] | float | str | None
    client_samples: Sequence[float | str] | NDArray[Any] | float | str | None
    client_memory: Sequence[float | str] | NDArray[Any] | float | str | None
    balance: Literal["samples", "epochs"] | None
    containers: Literal["auto"] | int | None
    data: str | None
    select: str
    available: float | Path | str | None
    deadline: float | None
    min_clients: int | None
    over_select: float
    late: str
    client_holdout: float | None
    evaluate_clients: Literal["end"] | int | None
    before_average: bool
    personalize: float | None
    keep_personal: bool
    dp_clip: float | None
    dp_noise: float | None
    dp_epsilon: float | None
    dp_delta: float | None
    dp_adaptive: bool
    dp_quantile: float
    dp_side: Literal["server", "clients"]
    dp_accountant: Literal["rdp", "pld"]
    dp_seed: int | None
    secure_aggregation: bool
    threshold: float | None
    memory_max: int | None
    pool_memory: int | None
    gpu_memory: Literal["auto", "off"] | int | None
    timeout_max: float | None
    limits: Literal["roomy", "stock", "digitalocean"] | None
    optimize: Literal["time", "cost", "memory"]
    estimator: Literal["measured", "sap"]
    miss_rate: float
    platform: str | None
    fabric: Path | str | None
    place: Literal["time", "price"] | None
    apihost: str | None
    auth: str | None
    insecure: bool
    redis: str | None
    store: str | None
    signing_key: Path | str | None
    patience_network: float
    image_prefix: str
    image_tag: str
    action_env: Sequence[str]
    platform_option: Sequence[str]
    arch: str
    data_dir: Path | str
    run_dir: Path | str
    keep: bool


class InferOptions(TypedDict, total=False):
    """Written by `scripts/generate`."""

    model: str | None
    model_code: str | None
    trust_code: bool
    input: Path | str | None
    workers: Literal["auto"] | int | None
    top_k: int
    by: Sequence[str]
    delimiter: str | None
    decimal: str | None
    na: Sequence[str] | None
    encoding: str | None
    memory_max: int | None
    pool_memory: int | None
    timeout_max: float | None
    limits: Literal["roomy", "stock", "digitalocean"] | None
    optimize: Literal["time", "cost", "memory"]
    platform: str | None
    fabric: Path | str | None
    place: Literal["time", "price"] | None
    apihost: str | None
    auth: str | None
    insecure: bool
    redis: str | None
    store: str | None
    signing_key: Path | str | None
    patience_network: float
    image_prefix: str
    image_tag: str
    action_env: Sequence[str]
    platform_option: Sequence[str]
    data_dir: Path | str
    run_dir: Path | str
    keep: bool


class SettingsOptions(TypedDict, total=False):
    """Written by `scripts/generate`."""

    memory_max: int | None
    pool_memory: int | None
    gpu_memory: Literal["auto", "off"] | int | None
    timeout_max: float | None
    limits: Literal["roomy", "stock", "digitalocean"] | None
    optimize: Literal["time", "cost", "memory"]
    estimator: Literal["measured", "sap"]
    miss_rate: float
    platform: str | None
    fabric: Path | str | None
    place: Literal["time", "price"] | None
    apihost: str | None
    auth: str | None
    insecure: bool
    redis: str | None
    store: str | None
    signing_key: Path | str | None
    patience_network: float
    image_prefix: str
    image_tag: str
    action_env: Sequence[str]
    platform_option: Sequence[str]
    arch: str
    data_dir: Path | str
    run_dir: Path | str
    keep: bool

"""A Flower app as it lies in a folder, read and refused by Flower's own functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from flwr.cli.build import build_fab_from_disk
from flwr.common.config import (
    flatten_dict,
    fuse_dicts,
    get_metadata_from_config,
    get_project_config,
    parse_config_args,
    validate_config,
)
from flwr.supercore.constant import DEFAULT_SIMULATION_CONFIG

from disdel.errors import UsageError

Value = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A Flower app.

    Attributes:
        folder: where it lies.
        fab_id: `publisher/name`.
        fab_version: its version.
        fab_hash: SHA-256 of its files, in hexadecimal.
        files: what Flower takes along of it, as a zip.
        server_app: the reference of its ServerApp, as `module:attribute`.
        client_app: likewise, of its ClientApp.
        overrides: of its configuration.
        run_config: its configuration with them.
        nodes: how many there are.
    """

    folder: Path
    fab_id: str
    fab_version: str
    fab_hash: str
    files: bytes
    server_app: str
    client_app: str
    overrides: Mapping[str, Value]
    run_config: Mapping[str, Value]
    nodes: int


def read_app(
    folder: Path, run_config: Sequence[str], federation: str | None, nodes: int | None
) -> App:
    """The app in a folder.

    Args:
        folder: with its pyproject.toml.
        run_config: overrides, as `flwr run --run-config` takes them.
        federation: which of its federations says how many nodes there are; None for its default.
        nodes: how many there are, where the user has said so.

    Raises:
        UsageError: it is none that Flower would run, or an override is of nothing that it has.
    """
    folder = folder.absolute()
    try:
        config = get_project_config(folder)
        _, errors, _ = validate_config(config, check_module=True, project_dir=folder)
        files = build_fab_from_disk(folder)
    except (FileNotFoundError, ValueError, click.ClickException) as error:
        raise UsageError(f"{folder} is no Flower app that can be run: {_said(error)}") from error
    if errors:
        raise UsageError(f"{folder / 'pyproject.toml'}: {' '.join('; '.join(errors).split())}")
    own = config["tool"]["flwr"]["app"]
    components = own["components"]
    if "agentapp" in components:
        raise UsageError(
            f"{folder} is an app of agents, which has no ServerApp and ClientApp to run"
        )
    given = flatten_dict(own.get("config", {}))
    overrides = _overrides(run_config)
    try:
        fused = fuse_dicts(given, overrides)
    except ValueError as error:
        unknown = next(name for name in overrides if name not in given)
        known = ", ".join(given) or "nothing"
        raise UsageError(
            f"--run-config has {unknown!r}, and [tool.flwr.app.config] of the app has {known}"
        ) from error
    fab_id, fab_version = get_metadata_from_config(config)
    return App(
        folder=folder,
        fab_id=fab_id,
        fab_version=fab_version,
        fab_hash=hashlib.sha256(files).hexdigest(),
        files=files,
        server_app=components["serverapp"],
        client_app=components["clientapp"],
        overrides=overrides,
        run_config=fused,
        nodes=nodes or _nodes(config, federation),
    )


def _said(error: Exception) -> str:
    text = error.message if isinstance(error, click.ClickException) else str(error)
    return " ".join(text.split())


def _overrides(run_config: Sequence[str]) -> dict[str, Value]:
    try:
        parsed = dict(parse_config_args(list(run_config)))
    except (ValueError, OSError, click.ClickException) as error:
        raise UsageError(f"--run-config cannot be read: {_said(error)}") from error
    if any(run_config) and not parsed:
        raise UsageError(
            f"--run-config {' '.join(run_config)!r} has no KEY=VALUE; texts need quotes of their "
            "own, as in 'name=\"value\"'"
        )
    return parsed


def _nodes(config: Mapping[str, Any], federation: str | None) -> int:
    """How many nodes the app's federations say there are, else Flower's default.

    Raises:
        UsageError: there is no such federation, or it says no number.
    """
    federations = config["tool"]["flwr"].get("federations", {})
    name = federation or federations.get("default")
    if name is None:
        return int(DEFAULT_SIMULATION_CONFIG.num_supernodes)
    chosen = federations.get(name)
    if not isinstance(chosen, dict):
        known = ", ".join(key for key in federations if key != "default") or "none"
        raise UsageError(
            f"[tool.flwr.federations] of the app has no {name!r}, but {known}: name one with "
            "--federation, or say --num-supernodes"
        )
    nodes = flatten_dict(chosen).get("options.num-supernodes")
    if type(nodes) is not int or nodes < 1:
        raise UsageError(
            f"[tool.flwr.federations.{name}] of the app has no options.num-supernodes: say "
            "--num-supernodes"
        )
    return nodes

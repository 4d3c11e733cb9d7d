"""`disdel doctor`."""

from __future__ import annotations

import typer

from disdel.cli import options
from disdel.cli.reading import read_runtime, read_settings


def doctor_command(
    runtime: options.Runtime = "auto",
    limits: options.PlatformLimits = "roomy",
    apihost: options.ApiHost = None,
    auth: options.Auth = None,
    insecure: options.Insecure = False,
    redis: options.Redis = None,
    patience_network: options.PatienceNetwork = None,
    image_prefix: options.ImagePrefix = None,
    image_tag: options.ImageTag = None,
    action_env: options.ActionEnv = None,
    data_dir: options.DataDir = None,
    run_dir: options.RunDir = None,
) -> None:
    """Check what a run needs, and say what to change."""
    from disdel.controller.checks import run_checks

    settings = read_settings(
        limits=limits,
        apihost=apihost,
        auth=auth,
        insecure=insecure,
        redis=redis,
        patience_network=patience_network,
        image_prefix=image_prefix,
        image_tag=image_tag,
        action_env=action_env,
        data_dir=data_dir,
        run_dir=run_dir,
    )
    failed = False
    for check in run_checks(settings, read_runtime(runtime)):
        failed = failed or not check.ok
        typer.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:19} {check.detail}")
    if failed:
        raise typer.Exit(1)

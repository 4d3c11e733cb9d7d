"""`disdel calibrate`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from disdel.cli import options
from disdel.cli.output import check_json_target, write_json
from disdel.cli.reading import read_runtime, read_settings


def calibrate_command(
    runtime: options.Runtime = "tensorflow",
    limits: options.PlatformLimits = "roomy",
    apihost: options.ApiHost = None,
    auth: options.Auth = None,
    insecure: options.Insecure = False,
    redis: options.Redis = None,
    patience_network: options.PatienceNetwork = None,
    image_prefix: options.ImagePrefix = None,
    image_tag: options.ImageTag = None,
    action_env: options.ActionEnv = None,
    arch: options.Arch = None,
    json: options.JsonFile = None,
    quiet: options.Quiet = False,
) -> None:
    """Measure what a runtime costs on this platform, with a few short trainings.

    Every training measures it too; this is for a first plan that rests on measurements.
    """
    from disdel.api import run_calibrate
    from disdel.report.views import choose_view

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
        arch=arch,
    )
    check_json_target(json)
    with choose_view(quiet=quiet) as view:
        asked = read_runtime(runtime) or "tensorflow"
        found = run_calibrate(settings, view, runtime=asked)
    measured = found.runtime
    write_json(
        json,
        {
            "version": 1,
            "runtime": asdict(measured),
            "containers": found.containers,
            "history": str(found.path),
        },
    )
    if not quiet and json != "-":
        typer.echo(
            f"{measured.name}: {measured.anonymous_mb:.0f} MB anonymous and "
            f"{measured.mapped_mb:.0f} MB of libraries before any samples, "
            f"{measured.cold_start_s:.1f} s to a first step, "
            f"{measured.multiply_adds_per_s / 1e9:.1f} G multiply-adds a second on one thread\n"
            f"{found.containers} containers are in {found.path}"
        )

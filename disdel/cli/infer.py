"""`disdel infer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from disdel.cli import options
from disdel.cli.output import both, check_json_target, json_writer, print_table

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="RUN|PATH", help="A run, or its model's file; else the newest run's."
    ),
]
InputOption = Annotated[
    Path | None,
    typer.Option(
        "--input",
        metavar="FILE.npz|.png|DIR",
        help="Samples to predict, instead of evaluating the held-out split.",
    ),
]


def infer_command(
    dataset: options.Dataset,
    model: ModelOption = None,
    input: InputOption = None,  # noqa: A002 - the option's name
    memory_max: options.MemoryMax = None,
    timeout_max: options.TimeoutMax = None,
    limits: options.PlatformLimits = "roomy",
    apihost: options.ApiHost = None,
    auth: options.Auth = None,
    insecure: options.Insecure = False,
    redis: options.Redis = None,
    image_prefix: options.ImagePrefix = None,
    image_tag: options.ImageTag = None,
    data_dir: options.DataDir = None,
    run_dir: options.RunDir = None,
    keep: options.Keep = False,
    json: options.JsonFile = None,
    quiet: options.Quiet = False,
) -> None:
    """Evaluate the ensemble model of a data set, or predict the class of new samples."""
    from disdel.api import run_infer
    from disdel.controller.infer import InferJob
    from disdel.report.views import choose_view

    settings = options.settings(
        memory_max=memory_max,
        timeout_max=timeout_max,
        limits=limits,
        apihost=apihost,
        auth=auth,
        insecure=insecure,
        redis=redis,
        image_prefix=image_prefix,
        image_tag=image_tag,
        data_dir=data_dir,
        run_dir=run_dir,
        keep=keep,
    )
    check_json_target(json)
    job = InferJob(dataset=dataset, model=model, input=input)
    with choose_view(quiet=quiet) as view:
        _, predictions = run_infer(job, settings, both(view, json_writer(json)))
    if input is not None and not quiet:
        rows = [
            (name, label, f"{probability:.4f}")
            for index, name in enumerate(predictions.names)
            for label, probability in [predictions.top(index)]
        ]
        print_table(("input", "class", "probability"), rows)

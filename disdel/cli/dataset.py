"""`disdel dataset list|info|import`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from disdel import config
from disdel.cli import options
from disdel.cli.output import check_json_target, print_table, write_json
from disdel.errors import DisdelError
from disdel.types import DatasetSpec, TrainJob

app = typer.Typer(
    help="Data sets: list, describe, import.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_command(data_dir: options.DataDir = None, json: options.JsonFile = None) -> None:
    """List the data sets that are ready to train on."""
    from dataclasses import asdict

    from disdel.catalog.datasets import list_datasets

    check_json_target(json)
    folder = config.data_dir(data_dir)
    rows = list_datasets(folder)
    write_json(json, [asdict(row) for row in rows])
    if json != "-":
        print_table(
            ("name", "version", "state", "shape", "classes", "train", "test"),
            [
                (row.name, row.version, row.state, *_shape_cells(row.spec, row.problem))
                for row in rows
            ],
        )
        typer.echo(
            f"\nIn {folder}. More: any name of the TFDS catalog with images or arrays and a class, "
            "or your own with `disdel dataset import NAME PATH`."
        )


def _shape_cells(spec: DatasetSpec | None, problem: str) -> tuple[object, ...]:
    if spec is None:
        return (problem, "", "", "")
    shape = "×".join(map(str, spec.input_shape))
    return (shape, spec.classes, spec.train_samples, spec.test_samples)


@app.command("info")
def info_command(
    dataset: options.Dataset, data_dir: options.DataDir = None, json: options.JsonFile = None
) -> None:
    """Describe a data set."""
    from dataclasses import asdict

    from disdel.catalog.datasets import describe_dataset

    check_json_target(json)
    spec = describe_dataset(dataset, config.data_dir(data_dir))
    write_json(json, asdict(spec))
    if json != "-":
        for name, value in asdict(spec).items():
            typer.echo(f"{name:14} {value}")


@app.command("import")
def import_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="How it will be called.")],
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help=".npz, IDX, CSV, a folder of images, or a zip of these."
        ),
    ],
    data_dir: options.DataDir = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier one.")] = False,
    regression: Annotated[
        bool,
        typer.Option("--regression", help="Whole numbers are to be predicted, and no classes."),
    ] = False,
    compiles: Annotated[
        bool,
        typer.Option(
            "--compile/--no-compile",
            help="Compile the default network for it, where disdel[compiled] is installed.",
        ),
    ] = True,
    json: options.JsonFile = None,
) -> None:
    """Turn files into a prepared TFDS data set."""
    from dataclasses import asdict

    from disdel.catalog.datasets import import_dataset

    check_json_target(json)
    folder = config.data_dir(data_dir)
    spec = import_dataset(name, path, folder, overwrite=overwrite, regression=regression)
    write_json(json, asdict(spec))
    if json != "-":
        targets = f"{spec.classes} classes" if spec.classes else "numbers to predict"
        held_out = " (held out: it came without a test split)" if spec.held_out else ""
        typer.echo(
            f"imported {spec.name} {spec.version} into {folder}: {spec.train_samples} training and "
            f"{spec.test_samples} test samples{held_out}, {'×'.join(map(str, spec.input_shape))} "
            f"{spec.input_dtype}, {targets}"
        )
    if compiles:
        _compile_ahead(spec, folder, quiet=json == "-")


def _compile_ahead(dataset: DatasetSpec, data_dir: Path, *, quiet: bool) -> None:
    """Compile what `disdel train` on a new data set would; it stands imported in any case."""
    from disdel.api import compile_ahead
    from disdel.controller.settings import Settings

    job = TrainJob(dataset=dataset.name)
    began_s = time.monotonic()
    try:
        compiled = compile_ahead(job, Settings(data_dir=data_dir))
    except (DisdelError, OSError) as error:
        typer.echo(f"not compiled for it: {error}", err=True)
        return
    if compiled and not quiet:
        took_s = time.monotonic() - began_s
        typer.echo(
            f"the network for it is compiled ({took_s:.1f} s), so the first training in batches of "
            f"{job.batch_size} need not wait for that"
        )

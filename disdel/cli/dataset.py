"""`disdel dataset list|info|import`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from disdel.cli.commands import Commands
from disdel.cli.declared import Given
from disdel.cli.options import DataDir, JsonOutput
from disdel.cli.output import check_json_target, print_table, write_json
from disdel.errors import DisdelError
from disdel.settings.read_options import ReadOptions
from disdel.types import DatasetSpec, TrainJob

_DATASET = "A data set (`disdel dataset list` shows some), or FILE.py:FUNCTION."
# Of means and deviations.
_SHOWN = 8

app = Commands(help="Data sets: list, describe, import.")


@app.command("list")
def list_command(data_dir: DataDir, output: JsonOutput) -> None:
    """List the data sets that are ready to train on."""
    from dataclasses import asdict

    from disdel.data import list_datasets

    check_json_target(output.json)
    rows = list_datasets(data_dir)
    write_json(
        output.json,
        [{**asdict(row), "spec": None if row.spec is None else _entries(row.spec)} for row in rows],
    )
    if output.json != "-":
        print_table(
            (
                "name",
                "version",
                "state",
                "shape",
                "samples",
                "classes",
                "train",
                "validation",
                "test",
            ),
            [
                (row.name, row.version, row.state, *_shape_cells(row.spec, row.problem))
                for row in rows
            ],
        )
        typer.echo(
            f"\nIn {data_dir}. More: any name of the TFDS catalog with images or arrays and a "
            "class, or your own with `disdel dataset import NAME PATH`."
        )


def _shape_cells(spec: DatasetSpec | None, problem: str) -> tuple[object, ...]:
    if spec is None:
        return (problem, "", "", "", "", "")
    shape = "×".join(map(str, spec.input_shape))
    validation = spec.validation_samples or ""
    samples = f"{spec.kind}, {spec.input_dtype}"
    classes: object = spec.classes
    if spec.target.shape:
        classes = f"{spec.classes} ({'×'.join(map(str, spec.target.shape))} a sample)"
    return (shape, samples, classes, spec.train_samples, validation, spec.test_samples)


def _entries(spec: DatasetSpec) -> dict[str, Any]:
    """What is told of a data set by name: its tensors, and in a few words what they come to."""
    from dataclasses import asdict

    entries = asdict(spec)
    return {
        "name": entries.pop("name"),
        "version": entries.pop("version"),
        "input_shape": spec.input_shape,
        "input_dtype": spec.input_dtype,
        "classes": spec.classes,
        "class_names": spec.class_names,
        "target_shape": spec.target.shape,
        **entries,
    }


@app.command("info")
def info_command(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help=_DATASET)],
    data_dir: DataDir,
    output: JsonOutput,
) -> None:
    """Describe a data set."""
    from disdel.data import describe_dataset

    check_json_target(output.json)
    spec = describe_dataset(dataset, data_dir)
    entries = _entries(spec)
    write_json(output.json, entries)
    if output.json != "-":
        typer.echo(f"{'kind':20} {spec.kind}")
        for name, value in entries.items():
            if name not in ("reading", "scaling", "features", "targets"):
                typer.echo(f"{name:20} {value}")
        for line in _told_reading(spec):
            typer.echo(line)


def _told_reading(spec: DatasetSpec) -> Iterator[str]:
    """How new samples are read, and what the built-in networks standardise with."""
    table, scaling = spec.reading.table, spec.scaling
    if table is not None:
        kinds = ", ".join(f"{column.name} ({column.kind})" for column in table.columns)
        yield f"{'columns':20} {kinds}; label {table.label}"
    if spec.reading.channels_first:
        yield f"{'channels':20} came first, and are put last"
    if scaling is not None:
        for name, values in (("mean", scaling.mean), ("deviation", scaling.deviation)):
            shown = ", ".join(f"{value:g}" for value in values[:_SHOWN])
            more = ", … (--json has all)" if len(values) > _SHOWN else ""
            yield f"{name:20} {shown}{more}"
        if not spec.classes:
            mean, deviation = (
                ", ".join(f"{value:g}" for value in values[:_SHOWN])
                for values in (scaling.target_mean, scaling.target_deviation)
            )
            yield f"{'target':20} mean {mean}, deviation {deviation}"


@app.command("import")
def import_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="How it will be called.")],
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help=".npz, IDX, CSV, a folder of images, or a zip of these."
        ),
    ],
    asked: Given[ReadOptions],
    data_dir: DataDir,
    output: JsonOutput,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier one.")] = False,
    compiles: Annotated[
        bool,
        typer.Option(
            "--compile/--no-compile",
            help="Compile the default network for it, where disdel[compiled] is installed.",
        ),
    ] = True,
) -> None:
    """Turn files into a prepared TFDS data set, and say what was guessed about them."""
    from disdel.data import import_dataset

    check_json_target(output.json)
    told_to_stderr = output.json == "-"
    options = asked.made(tell=lambda line: typer.echo(line, err=told_to_stderr))
    spec = import_dataset(name, path, data_dir, overwrite=overwrite, options=options)
    write_json(output.json, _entries(spec))
    if output.json != "-":
        targets = f"{spec.classes} classes" if spec.classes else "numbers to predict"
        if spec.target.shape:
            targets += f" for each of {'×'.join(map(str, spec.target.shape))} labels a sample"
        held_out = " (held out: it came without a test split)" if spec.held_out else ""
        validation = f", {spec.validation_samples} validation" if spec.validation_samples else ""
        shape = "×".join(map(str, spec.input_shape))
        typer.echo(
            f"imported {spec.name} {spec.version} into {data_dir}: {spec.train_samples} training"
            f"{validation} and {spec.test_samples} test samples{held_out}, {shape} "
            f"{spec.input_dtype}, {targets}"
        )
    # What is compiled learns no targets with axes.
    if compiles and not spec.target.shape:
        _compile_ahead(spec, data_dir, quiet=output.json == "-")


def _compile_ahead(dataset: DatasetSpec, data_dir: Path, *, quiet: bool) -> None:
    """Compile what `disdel train` on a new data set would; it stands imported in any case."""
    from disdel.jobs import compile_ahead
    from disdel.settings import Settings, resolve

    job = resolve(TrainJob, {"dataset": dataset.name})
    began_s = time.monotonic()
    try:
        compiled = compile_ahead(job, Settings(data_dir=data_dir))
    except (DisdelError, OSError) as error:
        typer.echo(f"not compiled for it: {error}", err=True)
        return
    except KeyboardInterrupt:
        typer.echo(
            f"{dataset.name} is imported; the network for it is not compiled, which its first "
            "training does",
            err=True,
        )
        raise
    if compiled and not quiet:
        took_s = time.monotonic() - began_s
        typer.echo(
            f"the network for it is compiled ({took_s:.1f} s), so the first training in batches of "
            f"{job.batch_size} need not wait for that"
        )

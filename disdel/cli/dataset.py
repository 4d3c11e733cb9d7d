"""`disdel dataset list|info|import`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from disdel.cli.commands import Commands
from disdel.cli.options import DataDir, JsonOutput
from disdel.cli.output import check_json_target, print_table, write_json
from disdel.errors import DisdelError, UsageError
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
    write_json(output.json, [asdict(row) for row in rows])
    if output.json != "-":
        print_table(
            ("name", "version", "state", "shape", "classes", "train", "validation", "test"),
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
        return (problem, "", "", "", "")
    shape = "×".join(map(str, spec.input_shape))
    validation = spec.validation_samples or ""
    return (shape, spec.classes, spec.train_samples, validation, spec.test_samples)


@app.command("info")
def info_command(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help=_DATASET)],
    data_dir: DataDir,
    output: JsonOutput,
) -> None:
    """Describe a data set."""
    from dataclasses import asdict

    from disdel.data import describe_dataset

    check_json_target(output.json)
    spec = describe_dataset(dataset, data_dir)
    write_json(output.json, asdict(spec))
    if output.json != "-":
        for name, value in asdict(spec).items():
            if name not in ("reading", "scaling"):
                typer.echo(f"{name:14} {value}")
        for line in _told_reading(spec):
            typer.echo(line)


def _told_reading(spec: DatasetSpec) -> Iterator[str]:
    """How new samples are read, and what the built-in networks standardise with."""
    table, scaling = spec.reading.table, spec.scaling
    if table is not None:
        kinds = ", ".join(f"{column.name} ({column.kind})" for column in table.columns)
        yield f"{'columns':14} {kinds}; label {table.label}"
    if spec.reading.channels_first:
        yield f"{'channels':14} came first, and are put last"
    if scaling is not None:
        for name, values in (("mean", scaling.mean), ("deviation", scaling.deviation)):
            shown = ", ".join(f"{value:g}" for value in values[:_SHOWN])
            more = ", … (--json has all)" if len(values) > _SHOWN else ""
            yield f"{name:14} {shown}{more}"
        if not spec.classes:
            yield (
                f"{'target':14} mean {scaling.target_mean:g}, deviation "
                f"{scaling.target_deviation:g}"
            )


_table_option = partial(typer.Option, rich_help_panel="Tables")


@app.command("import")
def import_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="How it will be called.")],
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help=".npz, IDX, CSV, a folder of images, or a zip of these."
        ),
    ],
    data_dir: DataDir,
    output: JsonOutput,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier one.")] = False,
    regression: Annotated[
        bool | None,
        typer.Option(
            "--regression/--classification",
            help="Labels are numbers to predict, or they are classes, whatever they look like.",
        ),
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(
            "--samples", metavar="images|numbers", help="What arrays of whole numbers are."
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="HEIGHTxWIDTH",
            help="Scale the images of a folder to one size: bilinearly, not in proportion.",
        ),
    ] = None,
    rounded: Annotated[
        bool,
        typer.Option("--rounded", help="Take numbers that float32 does not tell apart."),
    ] = False,
    label: Annotated[
        str | None,
        _table_option("--label", metavar="COLUMN", help="The label; by position where unnamed."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        _table_option("--drop", metavar="COLUMN", help="Leave a column out; can be repeated."),
    ] = None,
    keep: Annotated[
        list[str] | None,
        _table_option("--keep", metavar="COLUMN", help="Take a column that counts the rows."),
    ] = None,
    delimiter: Annotated[
        str | None,
        _table_option("--delimiter", metavar="CHAR|tab|space", help="Between columns."),
    ] = None,
    decimal: Annotated[
        str | None, _table_option("--decimal", metavar=".|,", help="The decimal mark.")
    ] = None,
    header: Annotated[
        bool | None,
        _table_option("--header/--no-header", help="Whether the first line names the columns."),
    ] = None,
    missing: Annotated[
        str,
        _table_option(
            "--missing",
            metavar="refuse|drop|mean",
            help="What becomes of rows with missing values: none are taken, they are left out, or "
            "numbers are filled with the mean of their column in the training split.",
        ),
    ] = "refuse",
    na: Annotated[
        list[str] | None,
        _table_option(
            "--na",
            metavar="TEXT",
            help="What marks a missing value beside blanks, instead of NA, NaN, null, ?; can be "
            "repeated.",
        ),
    ] = None,
    encoding: Annotated[
        str | None, _table_option("--encoding", metavar="NAME", help="Of a table's text.")
    ] = None,
    compiles: Annotated[
        bool,
        typer.Option(
            "--compile/--no-compile",
            help="Compile the default network for it, where disdel[compiled] is installed.",
        ),
    ] = True,
) -> None:
    """Turn files into a prepared TFDS data set; what was guessed of them is told."""
    from dataclasses import asdict

    from disdel.data import ReadOptions, import_dataset

    check_json_target(output.json)
    told_to_stderr = output.json == "-"
    read_options = ReadOptions(
        targets=None if regression is None else "numbers" if regression else "classes",
        samples=_one_of("--samples", samples, ("images", "numbers")),
        size=_size_of(size),
        rounded=rounded,
        label=label,
        drop=tuple(drop or ()),
        keep=tuple(keep or ()),
        delimiter=delimiter,
        decimal=decimal,
        header=header,
        missing=_one_of("--missing", missing, ("refuse", "drop", "mean")) or "refuse",
        missing_marks=None if na is None else tuple(na),
        encoding=encoding,
        tell=lambda line: typer.echo(line, err=told_to_stderr),
    )
    spec = import_dataset(name, path, data_dir, overwrite=overwrite, options=read_options)
    write_json(output.json, asdict(spec))
    if output.json != "-":
        targets = f"{spec.classes} classes" if spec.classes else "numbers to predict"
        held_out = " (held out: it came without a test split)" if spec.held_out else ""
        validation = f", {spec.validation_samples} validation" if spec.validation_samples else ""
        shape = "×".join(map(str, spec.input_shape))
        typer.echo(
            f"imported {spec.name} {spec.version} into {data_dir}: {spec.train_samples} training"
            f"{validation} and {spec.test_samples} test samples{held_out}, {shape} "
            f"{spec.input_dtype}, {targets}"
        )
    if compiles:
        _compile_ahead(spec, data_dir, quiet=output.json == "-")


def _size_of(text: str | None) -> tuple[int, int] | None:
    """Height and width as a user writes them: 32x48."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})[x×X]([1-9][0-9]{0,4})", text.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"--size must be HEIGHTxWIDTH in pixels, as 32x48, not {text!r}")
    return int(found[1]), int(found[2])


_Word = TypeVar("_Word", bound=str)


def _one_of(option: str, value: str | None, known: tuple[_Word, ...]) -> _Word | None:
    """The one of `known` that a user wrote; None where nothing was."""
    for word in known:
        if value == word:
            return word
    if value is None:
        return None
    raise UsageError(f"{option} must be {' or '.join(known)}, not {value!r}")


def _compile_ahead(dataset: DatasetSpec, data_dir: Path, *, quiet: bool) -> None:
    """Compile what `disdel train` on a new data set would; it stands imported in any case."""
    from disdel.api import compile_ahead
    from disdel.settings import Settings

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

"""A partition as a picture and as a page: a heat map of clients by labels, and their samples."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from disdel.errors import UsageError
from disdel.host.streams import on_one_line
from disdel.report.dealt_lines import Map, map_of
from disdel.types.dealt import DealtSamples

_TEMPLATE = "dealt.html.j2"
# Rows and columns of a picture; neighbours are put together beyond that.
_MOST_ROWS = 500
_MOST_COLUMNS = 500
_MOST_TICKS = 40
_MOST_LISTED = 200
_NAME_LENGTH = 20


def draw_dealt(dealt: DealtSamples, path: Path | io.BytesIO) -> None:
    """Draw the samples of each client as a PNG, and where there are labels the heat map.

    Raises:
        ImportError: there is no matplotlib.
        OSError: the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = map_of(dealt, _MOST_ROWS, _MOST_COLUMNS)
    rows, columns = len(shown.rows), len(shown.columns)
    # Of several clients in one row, the mean.
    samples = np.array([part.mean() for part in np.array_split(dealt.samples, rows)])
    with mpl.rc_context({"figure.dpi": 150, "font.size": 9, "axes.titlesize": 10}):
        height = min(12.0, max(3.5, 1.6 + 0.2 * rows))
        figure = Figure(
            figsize=(min(14.0, max(6.5, 3.5 + 0.28 * columns)), height), layout="constrained"
        )
        FigureCanvasAgg(figure)
        if dealt.labels:
            heat, bars = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
            _draw_shares(figure, heat, dealt, shown)
        else:
            heat = bars = figure.subplots()
            bars.invert_yaxis()
        heat.set(ylabel="client")
        # Dollar signs in names begin no formula.
        title = f"{on_one_line(dealt.dataset)}, {on_one_line(dealt.partition)}, seed {dealt.seed}"
        figure.suptitle(title, parse_math=False)
        step = -(-rows // _MOST_TICKS)
        places = range(0, rows, step)
        heat.set_yticks(places, [shown.rows[place].label for place in places], parse_math=False)
        bars.barh(range(rows), samples, color="#0072b2", height=1.0 if rows > _MOST_TICKS else 0.8)
        bars.set(xlabel="samples")
        figure.savefig(path, format="png")


def _draw_shares(figure: Any, heat: Any, dealt: DealtSamples, shown: Map) -> None:
    shares = np.stack([row.shares for row in shown.rows])
    image = heat.imshow(
        shares, cmap="Blues", vmin=0, vmax=shown.largest, interpolation="nearest", aspect="auto"
    )
    heat.set(xlabel="label")
    _name_labels(heat, dealt, shown.columns)
    figure.colorbar(image, ax=heat, label="share of a client's samples")


def _name_labels(axes: Any, dealt: DealtSamples, columns: tuple[int, ...]) -> None:
    step = -(-len(columns) // _MOST_TICKS)
    places = range(0, len(columns), step)
    names = [on_one_line(dealt.labels[columns[place]])[:_NAME_LENGTH] for place in places]
    turned = 90 if max(map(len, names)) > 2 else 0
    axes.set_xticks(places, names, rotation=turned, parse_math=False)


def render_dealt(dealt: DealtSamples) -> str:
    """The page of a partition: the picture in it, totals, and a table.

    Raises:
        ImportError: there is no matplotlib.
    """
    picture = io.BytesIO()
    draw_dealt(dealt, picture)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    listed = min(len(dealt.counts), _MOST_LISTED)
    shades = (dealt.shares_of(0, listed) / max(dealt.largest_share, 1e-9)).round(3).tolist()
    return environment.get_template(_TEMPLATE).render(
        dealt=dealt,
        picture=base64.b64encode(picture.getvalue()).decode(),
        median=f"{np.median(dealt.samples):g}",
        rows=[
            {
                "client": dealt.clients[client] if dealt.clients else str(client),
                "samples": int(dealt.samples[client]),
                "labels": int(dealt.labels_held[client]),
                "effective": f"{dealt.effective_labels[client]:.2f}",
                "cells": list(zip(dealt.counts[client].tolist(), shades[client], strict=True)),
            }
            for client in range(listed)
        ],
        wide=len(dealt.labels) > _MOST_TICKS,
    )


def write_dealt(dealt: DealtSamples, *, html: Path | None, png: Path | None) -> None:
    """Write the page and the picture that are asked for.

    Raises:
        UsageError: a file cannot be written.
    """
    try:
        if png is not None:
            draw_dealt(dealt, png)
        if html is not None:
            html.write_text(render_dealt(dealt), encoding="utf-8", errors="xmlcharrefreplace")
    except OSError as error:
        raise UsageError(f"{error.filename or png or html} cannot be written: {error}") from error

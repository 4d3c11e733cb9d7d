"""What `disdel partition` shows."""

import json
import tracemalloc

import numpy as np
import pytest
from typer.testing import CliRunner

import disdel
from disdel.cli.app import app
from disdel.cli.output import write_json
from disdel.errors import UsageError
from disdel.report.dealt_lines import MOST_ROWS, dealt_lines
from disdel.report.dealt_picture import render_dealt
from disdel.types.dealt import DealtSamples

PNG = b"\x89PNG\r\n\x1a\n"


def shown(*arguments):
    done = CliRunner().invoke(app, ["partition", "digits", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def dealt(counts, **others):
    counts = np.array(counts)
    labels = others.pop("labels", tuple(map(str, range(counts.shape[1]))))
    return DealtSamples(
        dataset="set", partition="iid", seed=0, counts=counts, labels=labels, **others
    )


def test_table_map_and_totals():
    text = shown("--clients", "5", "--partition", "sizes:linear")
    assert "partition sizes:linear of digits, seed 0" in text
    lines = text.splitlines()
    assert [line.split()[:3] for line in lines[2:7]] == [
        ["0", "95", "10"],
        ["1", "191", "10"],
        ["2", "287", "10"],
        ["3", "383", "10"],
        ["4", "482", "10"],
    ]
    assert "samples   1438 to 5 clients: least 95 (client 0), median 287, largest 482" in text
    assert "labels    10 to 10 a client, 10.00 on average; of 10" in text


def test_json_has_all_counts_and_a_run_deals_the_same():
    told = json.loads(shown("--clients", "7", "--partition", "dirichlet:0.5", "--json", "-"))
    counts = np.array([client["counts"] for client in told["clients"]])
    assert counts.shape == (7, 10)
    assert counts.sum() == told["totals"]["samples"] == 1438
    assert [client["samples"] for client in told["clients"]] == counts.sum(axis=1).tolist()
    other = disdel.partition("digits", clients=7, partition="dirichlet:0.5")
    assert other.counts.tolist() == counts.tolist()


def test_what_is_held_out_for_decisions_is_nobodys():
    told = json.loads(shown("--patience", "3", "--json", "-"))
    assert told["totals"]["samples"] == 1438 - 143
    assert told["totals"]["clients"] == 10


def test_picture_and_page(tmp_path):
    page, picture = tmp_path / "page.html", tmp_path / "map.png"
    shown("--partition", "shards:2", "--html", str(page), "--png", str(picture))
    assert picture.read_bytes().startswith(PNG)
    text = page.read_text()
    assert "data:image/png;base64," in text
    assert "http" not in text.replace("http-equiv", "")


def test_what_json_holds_is_made_for_json_alone(monkeypatch):
    def made(self):
        raise AssertionError("of a million clients it takes half a gigabyte")

    monkeypatch.setattr(DealtSamples, "to_json", made)
    assert "1438 to 10 clients" in shown()


def test_memory_does_not_grow_with_the_clients_that_are_written(tmp_path):
    def peak_of(clients):
        made = dealt(np.ones((clients, 2), np.int64))
        _ = made.samples, made.effective_labels, made.labels_held
        tracemalloc.start()
        write_json(str(tmp_path / "dealt.json"), made.to_json(streamed=True))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert json.loads((tmp_path / "dealt.json").read_text()) == made.to_json()
        return peak

    peak_of(10)
    assert peak_of(20_000) < 2 * peak_of(5_000)


def test_help_says_what_options_are_for_here():
    done = CliRunner().invoke(app, ["partition", "--help"])
    text = " ".join(done.output.split())
    assert "Seed of what is drawn to deal the samples" in text
    assert "Stop when the validation accuracy" not in text
    assert "Stop after N rounds" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--partition", "nothing"], "unknown --partition 'nothing'"),
        (["--clients", "2000"], "cannot deal 1438 samples to 2000 clients: each needs at least"),
        (["--html", "/nowhere/page.html"], "--html /nowhere/page.html"),
        (["--partition", "by:hospital"], "digits has no column 'hospital'"),
    ],
)
def test_what_cannot_be_shown_is_refused(arguments, message):
    done = CliRunner().invoke(app, ["partition", "digits", *arguments])
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_two_results_do_not_go_to_one_file(tmp_path):
    same = str(tmp_path / "same")
    done = CliRunner().invoke(app, ["partition", "digits", "--html", same, "--png", same])
    assert "--html and --png are one file" in str(done.exception)


def test_a_data_set_is_needed():
    done = CliRunner().invoke(app, ["partition"])
    assert "name a data set" in str(done.exception) or "name a data set" in done.output


def test_effective_labels_are_as_many_as_would_be_were_they_alike():
    made = dealt([[5, 5, 0, 0], [7, 0, 0, 0], [1, 1, 1, 1], [9, 1, 0, 0]])
    assert made.effective_labels == pytest.approx([2, 1, 4, np.exp(0.325083)])
    assert made.labels_held.tolist() == [2, 1, 4, 2]
    assert made.shares[3].tolist() == [0.9, 0.1, 0, 0]
    assert made.largest_share == 1


@pytest.mark.parametrize("clients", [MOST_ROWS, MOST_ROWS + 1, 10_000])
@pytest.mark.parametrize("labels", [2, 31, 1000])
def test_the_map_fits_a_terminal(clients, labels):
    counts = np.random.default_rng(0).integers(0, 5, (clients, labels))
    counts[:, 0] += 1
    lines = list(dealt_lines(dealt(counts)))
    assert len(lines) <= MOST_ROWS + 8
    assert max(map(len, lines)) <= 120
    rows = [line for line in lines if "|" in line]
    assert len(rows) == min(clients, MOST_ROWS)
    assert len({len(row) for row in rows}) == 1


def test_names_from_others_steer_neither_terminal_nor_page():
    made = dealt([[1, 2], [2, 1]], labels=("\x1b[31m", "<b>$x$"), clients=("a\nb", "<script>"))
    text = "\n".join(dealt_lines(made))
    assert "\x1b" not in text
    assert "a\nb" not in text
    page = render_dealt(made)
    assert "<script>" not in page
    assert "<b>$x$" not in page


TARGETS = """
import numpy as np

def load():
    return np.ones((200, 3), "float32"), np.ones((200, 4), "float32")

def last(labels, clients):
    assert labels.shape == (160, 4)
    return np.arange(len(labels)) // 40
"""


@pytest.mark.parametrize(
    ("partition", "sizes"),
    [("iid", [40] * 4), ("sizes:linear", [16, 32, 48, 64]), ("FILE:last", [40] * 4)],
)
def test_targets_with_axes_have_no_labels_and_are_dealt(tmp_path, partition, sizes):
    file = tmp_path / "data.py"
    file.write_text(TARGETS)
    made = disdel.partition(
        f"{file}:load", clients=4, partition=partition.replace("FILE", str(file))
    )
    assert made.samples.tolist() == sizes
    told = made.to_json()
    assert told["labels"] == []
    assert set(told["clients"][0]) == {"client", "samples"}
    assert not [name for name in told["totals"] if "label" in name]
    _, columns, first, *_, totals, labels = dealt_lines(made)
    assert (columns.split(), first.split()) == (["client", "samples"], ["0", str(sizes[0])])
    assert totals.startswith("samples   160 to 4 clients")
    assert labels == "labels    none: a sample has a target with axes of its own"
    page = render_dealt(made)
    assert "no labels to tell clients by" in page
    assert "effective" not in page.lower()


@pytest.mark.parametrize("partition", ["shards:2", "classes:1", "dirichlet:1"])
def test_what_needs_one_label_a_sample_is_refused_without(tmp_path, partition):
    file = tmp_path / "data.py"
    file.write_text(TARGETS)
    with pytest.raises(UsageError, match=r"looks at the label of each sample, .* shape \(4,\)"):
        disdel.partition(f"{file}:load", clients=4, partition=partition)


def test_numbers_to_predict_are_shown_by_tenths(tmp_path):
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def load():\n"
        "    y = np.arange(200, dtype='float32') / 7\n"
        "    return np.ones((200, 3), 'float32') * y[:, None], y\n"
    )
    made = disdel.partition(f"{tmp_path}/data.py:load", clients=4, partition="shards:1")
    assert made.is_numbers
    assert len(made.labels) == 10
    assert made.labels_held.max() <= 4
    assert any("numbers to predict, by tenths" in line for line in dealt_lines(made))

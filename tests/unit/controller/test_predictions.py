import csv
import json
from pathlib import Path

import numpy as np
import pytest

from disdel.controller.inference.predictions import (
    NumberPredictions,
    Predictions,
    check_predictions_target,
    write_predictions,
)
from disdel.errors import UsageError


def predictions(labels=None, top_k=2):
    return Predictions(
        inputs=("a.png", "dir/b, c.png"),
        probabilities=np.array([[0.1, 0.7, 0.2], [0.6, 0.25, 0.15]], np.float32),
        labels=None if labels is None else np.array(labels),
        class_names=("cat", "dog", "owl"),
        top_k=top_k,
    )


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_a_sample(tmp_path):
    path = tmp_path / "out.csv"
    write_predictions(path, predictions())
    first, second = read_csv(path)
    assert first == {
        "input": "a.png",
        "class": "dog",
        "probability": "0.7",
        "class_2": "owl",
        "probability_2": "0.2",
    }
    assert second["input"] == "dir/b, c.png"
    assert (second["class"], second["class_2"]) == ("cat", "dog")


NAMES = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@x",
    "\tx",
    "\r=1",
    "\n=1",
    "\uff0d1+1",
    "-1",
    "+2.5e3",
    "-nan",
    "a=1",
]


def test_no_name_is_a_formula_in_csv_and_numbers_stay(tmp_path):
    several = Predictions(
        inputs=tuple(NAMES),
        probabilities=np.eye(len(NAMES), dtype=np.float32),
        labels=np.arange(len(NAMES)),
        class_names=tuple(NAMES),
    )
    path = tmp_path / "out.csv"
    write_predictions(path, several)
    escaped = [f"'{name}" for name in NAMES[:8]] + NAMES[8:]
    for column in ("input", "class", "true"):
        assert [row[column] for row in read_csv(path)] == escaped
    write_predictions(tmp_path / "out.json", several)
    assert json.loads((tmp_path / "out.json").read_text())["classes"] == NAMES


def test_csv_has_the_true_class_where_it_is_known(tmp_path):
    path = tmp_path / "out.csv"
    write_predictions(path, predictions(labels=[1, 2], top_k=1))
    assert list(read_csv(path)[0]) == ["input", "class", "probability", "true"]
    assert [row["true"] for row in read_csv(path)] == ["dog", "owl"]


@pytest.mark.parametrize("labels", [None, [0, 2]])
def test_json_says_the_same(tmp_path, labels):
    wanted = predictions(labels)
    write_predictions(tmp_path / "out.csv", wanted)
    write_predictions(tmp_path / "out.json", wanted)
    saved = json.loads((tmp_path / "out.json").read_text())
    assert saved["version"] == 1
    assert saved["classes"] == ["cat", "dog", "owl"]
    for row, entry in zip(read_csv(tmp_path / "out.csv"), saved["predictions"], strict=True):
        assert entry["input"] == row["input"]
        assert entry["class"] == row["class"] == entry["top"][0]["class"]
        assert entry["probability"] == pytest.approx(float(row["probability"]))
        assert [guess["class"] for guess in entry["top"]] == [row["class"], row["class_2"]]
        assert entry.get("true") == row.get("true")


@pytest.mark.parametrize("true", [None, np.array([2.0, -3.5], np.float32)])
def test_numbers_are_told_as_they_are(tmp_path, true):
    numbers = NumberPredictions(
        inputs=("0", "a, b.png"), numbers=np.array([1.25, -4.0], np.float32), true=true
    )
    write_predictions(tmp_path / "out.csv", numbers)
    write_predictions(tmp_path / "out.json", numbers)
    rows = read_csv(tmp_path / "out.csv")
    known = [{}, {}] if true is None else [{"true": "2"}, {"true": "-3.5"}]
    assert rows == [
        {"input": "0", "number": "1.25", **known[0]},
        {"input": "a, b.png", "number": "-4", **known[1]},
    ]
    saved = json.loads((tmp_path / "out.json").read_text())
    assert saved["version"] == 1
    for row, entry in zip(rows, saved["predictions"], strict=True):
        assert entry == {"input": row.pop("input")} | {k: float(v) for k, v in row.items()}


def test_labels_of_one_sample_are_told_by_their_places(tmp_path):
    masks = Predictions(
        inputs=("a", "b"),
        probabilities=np.array([[[[0.9, 0.1]], [[0.2, 0.8]]], [[[0.5, 0.5]], [[0, 1]]]]),
        labels=np.array([[[0], [0]], [[1], [1]]]),
        class_names=("off", "on"),
    )
    numbers = NumberPredictions(
        inputs=("a", "b"), numbers=np.array([[1, 2], [3, 4.5]], np.float32), true=None
    )
    assert (len(masks), len(numbers)) == (4, 4)
    write_predictions(tmp_path / "masks.csv", masks)
    assert read_csv(tmp_path / "masks.csv")[1] == {
        "input": "a", "place": "1 0", "class": "on", "probability": "0.8", "true": "off",
    }  # fmt: skip
    write_predictions(tmp_path / "masks.json", masks)
    entries = json.loads((tmp_path / "masks.json").read_text())["predictions"]
    assert [entry["place"] for entry in entries] == [[0, 0], [1, 0]] * 2
    write_predictions(tmp_path / "numbers.csv", numbers)
    assert read_csv(tmp_path / "numbers.csv")[3] == {"input": "b", "place": "1", "number": "4.5"}
    write_predictions(tmp_path / "numbers.json", numbers)
    entries = json.loads((tmp_path / "numbers.json").read_text())["predictions"]
    assert entries[3] == {"input": "b", "place": [1], "number": 4.5}
    write_predictions(tmp_path / "masks.npz", masks)
    with np.load(tmp_path / "masks.npz") as arrays:
        assert arrays["class"].tolist() == [[[0], [1]], [[0], [1]]]
        assert arrays["classes"][arrays["true"]].tolist()[1] == [["on"], ["on"]]
        assert arrays["probabilities"].shape == (2, 2, 1, 2)
    write_predictions(tmp_path / "numbers.npz", numbers)
    with np.load(tmp_path / "numbers.npz") as arrays:
        assert sorted(arrays.files) == ["input", "number"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("out.txt", r"must end in \.csv or \.json or \.npz"),
        ("out", r"must end in \.csv or \.json or \.npz"),
        ("nowhere/out.csv", "no such folder"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_any_work(path, told):
    with pytest.raises(UsageError, match=told):
        check_predictions_target(Path(path))


def test_suffixes_are_read_in_either_case():
    check_predictions_target(Path("OUT.CSV"))
    check_predictions_target(None)


def test_a_folder_in_the_way_is_the_users_to_move(tmp_path):
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_predictions(tmp_path / "out.csv", predictions())

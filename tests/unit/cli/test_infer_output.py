"""What people see of an inference: lines, tables and the picture."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from disdel.cli import infer as command
from disdel.controller.inference.metrics import evaluate_classes
from disdel.controller.runs.run_folder import RunFolder
from disdel.report import confusion
from disdel.report.lines import class_lines


def evaluation(classes, samples=200, names=None):
    """Of a model that is right most of the time, and never of the last class."""
    random = np.random.default_rng(0)
    true = random.integers(0, classes, samples)
    probabilities = random.dirichlet(np.full(classes, 0.5), samples)
    probabilities[np.arange(samples), true] += 1
    probabilities[true == classes - 1, 0] += 3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return evaluate_classes(probabilities, true, names or [f"c{i}" for i in range(classes)], 1)


def test_few_classes_are_all_shown_in_their_order():
    heading, *rows = class_lines(evaluation(3))
    assert heading.split() == ["class", "samples", "precision", "recall", "f1"]
    assert [row.split()[0] for row in rows] == ["c0", "c1", "c2"]


def test_of_many_classes_the_worst_are_shown():
    scored = evaluation(50, samples=2000)
    _, *rows, last = class_lines(scored)
    assert rows[0].split()[0] == "c49"
    assert len(rows) == 10
    assert last.split()[:3] == ["and", "40", "more"]
    shown = {row.split()[0] for row in rows}
    worst = max(score.f1 for score in scored.classes if score.name in shown)
    assert all(score.f1 >= worst for score in scored.classes if score.name not in shown)


def test_classes_that_never_occur_come_last():
    true = np.array([0, 1, 2])
    scored = evaluate_classes(np.eye(3, 40), true, [f"c{i}" for i in range(40)], 1)
    rows = class_lines(scored)[1:]
    assert [row.split()[0] for row in rows[:3]] == ["c0", "c1", "c2"]
    assert rows[3].split()[-1] == "-"


def test_a_class_without_samples_has_dashes():
    probabilities = np.array([[0.9, 0.1, 0.0]])
    scored = evaluate_classes(probabilities, np.array([0]), ["here", "there", "nowhere"], 1)
    assert class_lines(scored)[3].split() == ["nowhere", "0", "-", "-", "-"]


@pytest.mark.parametrize("classes", [1, 2, 10, 40, 150])
def test_the_picture_of_any_number_of_classes(tmp_path, classes):
    path = tmp_path / "confusion.png"
    confusion.draw_confusion(evaluation(classes), "title", path)
    with Image.open(path) as image:
        image.load()
        assert min(image.size) >= 400
        # It is no single colour: cells, text and axes are there.
        assert len(image.convert("L").getcolors()) > 10


def test_drawing_leaves_matplotlibs_settings_alone(tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    confusion.draw_confusion(evaluation(3), "title", tmp_path / "confusion.png")
    assert dict(mpl.rcParams) == before


def inferred(tmp_path, scored):
    report = SimpleNamespace(evaluation=scored, dataset="digits", accuracy=0.5)
    return SimpleNamespace(report=report, folder=RunFolder(tmp_path))


def test_without_matplotlib_the_command_says_what_to_install(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    [line] = command._draw(inferred(tmp_path, evaluation(3)))
    assert "pip install 'disdel[plot]'" in line
    assert list(tmp_path.iterdir()) == []


def test_without_labels_there_is_nothing_to_draw(tmp_path):
    assert command._draw(inferred(tmp_path, None)) == []
    assert list(tmp_path.iterdir()) == []

"""Numbers in tables, as people write them and as float32 holds them."""

from __future__ import annotations

import numpy as np
import pytest

from disdel.errors import DatasetError
from tests.support.csv_tables import lines


@pytest.mark.parametrize(
    ("cells", "options", "numbers"),
    [
        (["1,234.5", "2,000.25"], {}, [1234.5, 2000.25]),
        (["1.234,5", "2.000,25"], {}, [1234.5, 2000.25]),
        (["1,234", "2,000"], {"decimal": "."}, [1234, 2000]),
        (["1,234", "2,000"], {"decimal": ","}, [1.234, 2]),
        (["1.234", "2.000"], {}, [1.234, 2]),
        (["1 234,5", "2 000"], {}, [1234.5, 2000]),
        (["1e3", "-2.5E-1"], {}, [1000, -0.25]),
        (["+1", ".5"], {}, [1, 0.5]),
        (["yes", "No"], {}, [1, 0]),
        (["TRUE", "false"], {}, [1, 0]),
    ],
)
def test_numbers_as_people_write_them(table, cells, options, numbers):
    rows = [(f'"{cell}"', label) for cell, label in zip(cells, "xy", strict=True)]
    found = np.ravel(table.x(lines(rows), **options))
    np.testing.assert_array_equal(found, np.array(numbers, np.float32))


def test_numbers_rounded_to_float32_are_told(table):
    text = lines([(16777217, 0), (33554432, 1), (5, 0)])
    table.read(text)
    assert table.says("numbers beyond 16,777,216 are rounded")
    close = lines([(100100033, 0), (100100034, 1)])
    assert len(table.x(close, rounded=True)) == 2
    assert table.says("are rounded")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([2460000.5 + i / 100 for i in range(20)], "2460000.5 and 2460000.51"),
        ([5000000 + i / 1000 for i in range(20)], "5000000 and 5000000.001"),
    ],
)
def test_numbers_of_which_most_become_one_in_float32_are_refused(table, numbers, message):
    features = lines([(number, i % 2) for i, number in enumerate(numbers)])
    with pytest.raises(DatasetError, match=f"column 'a' has {message}, .*--rounded"):
        table.read(features)
    table.read(features, rounded=True)
    assert table.says("column 'a': numbers beyond")
    targets = lines([(i % 3, number) for i, number in enumerate(numbers)])
    with pytest.raises(DatasetError, match=f"labels {message} become one number"):
        table.read(targets, targets="numbers")
    table.read(targets, targets="numbers", rounded=True)


@pytest.mark.parametrize(
    "numbers",
    [
        [0.3, 0.1 + 0.2],  # one number, computed in two ways
        [1e6 + 1000 * i / 7 for i in range(20)],
        [i / 997 for i in range(20)],
        [1e-30 * i for i in range(20)],
    ],
)
def test_what_float32_does_to_ordinary_numbers_is_no_matter(table, numbers):
    assert len(table.x(lines([(number, i % 2) for i, number in enumerate(numbers)])))
    assert not table.says("rounded to float32")


def test_a_rounded_column_does_not_hide_another(table):
    rows = [(16777217, 100100033, 0), (5, 100100034, 1)]
    with pytest.raises(DatasetError, match="column 'b' has 100100033 and 100100034"):
        table.read(lines(rows, head="a{}b,label"))


@pytest.mark.parametrize("cells", [("1_0", "2_0"), ("\u0661", "\u0662")])
def test_numbers_of_python_and_other_scripts_are_texts(table, cells):
    rows = [(cells[i % 2], i % 2) for i in range(20)]
    assert table.x(lines(rows))[:2] == [[1, 0], [0, 1]]
    assert table.says("'a' is text")


@pytest.mark.parametrize(
    ("cells", "units"),
    [
        (["10%", "0.2"], "'10%' and '0.2'"),
        (["$5", "€4"], "'[$]5' and '€4'"),
        (["$5", "4", "3%"], None),
        (["$5", "4"], ""),
        (["5%", "4%"], ""),
    ],
)
def test_numbers_of_different_units_are_no_feature(table, cells, units):
    text = lines([(cell, i % 2) for i, cell in enumerate(cells * 5)])
    if units == "":
        assert table.x(text)[0] == [5]
        return
    with pytest.raises(DatasetError, match=f"different units \\({units or ''}.*--drop a"):
        table.read(text)


def test_numbers_of_different_units_in_blocks_are_no_feature(table):
    rows = [("50%" if i > 3000 else 0.5, i % 2) for i in range(5000)]
    with pytest.raises(DatasetError, match="different units"):
        table.read(lines(rows))

"""CSV tables as people have them: what is guessed is told, what is ambiguous is asked."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest

from disdel.data.holdout import hold_out
from disdel.data.sources import ReadOptions, read_inputs_of
from disdel.errors import DatasetError
from tests.support.csv_tables import Table, lines
from tests.support.specs import dataset_spec

ROWS = [(0.5, 0), (1.25, 1), (2.5, 0), (3.75, 1)]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (lines(ROWS), {}),
        (lines(ROWS).replace("\n", "\r\n"), {}),
        (lines(ROWS, ";"), {}),
        (lines(ROWS, "\t"), {}),
        (lines(ROWS, "|"), {}),
        (lines(ROWS, "  "), {"delimiter": "space"}),
        (lines(ROWS, "~"), {"delimiter": "~"}),
        (lines(ROWS, ";").replace(".", ","), {}),
        (lines(ROWS, ";").replace(".", ",").replace("a;label\n", ""), {}),
        (lines(ROWS).replace("a,", '"a",').replace("0.5,", '"0.5",'), {}),
        (lines(ROWS).replace(",", " , "), {}),
        (lines(ROWS) + "\n\n,\n", {}),
        ("sep=;\n" + lines(ROWS, ";"), {}),
        ("# made by hand\n# in May\n" + lines(ROWS), {}),
        ("# " + lines(ROWS), {}),
        (lines(ROWS).encode("utf-8-sig"), {}),
        (lines(ROWS).encode("utf-16"), {}),
        (lines(ROWS).encode("utf-16-le"), {}),
        (lines(ROWS).encode("utf-32"), {}),
        (lines([(f"$ {a}", b) for a, b in ROWS]), {}),
        (lines([(f"{a} %", b) for a, b in ROWS]), {}),
        (lines([(f"{a}€", b) for a, b in ROWS]), {}),
    ],
)
def test_one_table_in_many_spellings(table, text, options):
    content = table.read(text, **options)
    assert content.splits["train"].x.tolist() == [[a] for a, _ in ROWS]
    assert content.labels["train"].tolist() == [b for _, b in ROWS]
    assert table.says("between columns")
    assert table.says("2 classes: 0 ×2, 1 ×2")
    assert table.says("4 rows, all read")


def test_a_packed_table_of_tabs(table):
    content = table.read(gzip.compress(lines(ROWS, "\t").encode()), name="t.tsv.gz")
    assert len(content.splits["train"].x) == 4


def test_an_encoding_that_is_guessed_is_told(table):
    text = "größe,label\n1.5,0\n2.5,1\n".encode("cp1252")
    assert table.x(text) == [[1.5], [2.5]]
    assert table.says("read as cp1252")
    table.x(text, encoding="cp1252")
    assert not table.says("not UTF-8")


@pytest.mark.parametrize(
    ("head", "rows", "header"),
    [
        ("0,1,2,species", ["0.5,1,2,a", "1.5,2,3,b"] * 3, True),
        ("2019,2020,growth", ["1,2,0", "3,4,1"] * 3, True),
        ("5.1,3.5,setosa", ["4.9,3.0,setosa", "6.2,3.4,virginica"] * 3, False),
        ("colour,shape,kind", ["red,round,a", "blue,square,b"] * 6, True),
        ("red,round,a", ["red,round,a", "blue,square,b"] * 6, False),
        ("1,2,0", ["3,4,1", "5,6,0"] * 3, False),
    ],
)
def test_whether_the_first_line_names_the_columns(table, head, rows, header):
    content = table.read("\n".join([head, *rows]))
    assert len(content.splits["train"].x) == len(rows) + (not header)
    assert table.says("a header" if header else "no header")


@pytest.mark.parametrize(
    "head", ["0,1,2,3", "1,2,3,4", "2019,2020,2021,kind"], ids=["from 0", "from 1", "years"]
)
def test_a_first_line_that_may_be_either_is_asked_about(table, head):
    last = "xy" if head.endswith("kind") else "01"
    text = "\n".join([head, *(f"{i}.5,{i},7,{last[i % 2]}" for i in range(9))])
    with pytest.raises(DatasetError, match="--header or --no-header"):
        table.read(text)
    assert len(table.x(text, header=True)) == 9
    if last == "01":
        assert len(table.read(text, header=False, targets="numbers").splits["train"].x) == 10


@pytest.mark.parametrize(
    ("head", "label"),
    [
        ("a,b,label", "label"),
        ("target,a,b", "target"),
        ("a,b,class", "class"),
        ("y,a,b", "y"),
        ("a,b,kind", "kind"),
    ],
)
def test_the_label_is_named_or_last(table, head, label):
    content = table.read(head + "\n0,1,0\n1,0,1\n0,0,1\n")
    assert content.reading.table.label == label
    assert table.says(f"label: {label!r}")


@pytest.mark.parametrize(
    "head", ["x,y,z,activity", "label,a,b,target", "a,class,b,survived", "a,y,b,c"]
)
def test_two_columns_that_may_be_the_label_are_asked_about(table, head):
    text = head + "\n" + "0,1,2,0\n1,0,2,1\n" * 5
    with pytest.raises(DatasetError, match="--label COLUMN"):
        table.read(text)
    wanted = head.split(",")[-1]
    assert table.read(text, label=wanted).reading.table.label == wanted


def test_a_text_among_numbers_may_be_the_label(table):
    text = "diagnosis,a,b\n" + "M,1,0.5\nB,2,1.5\n" * 6
    with pytest.raises(DatasetError, match=r"'diagnosis' or 'b'; .*--label"):
        table.read(text)
    assert table.read(text, label="diagnosis").classes == 2


def test_identifiers_are_told(table):
    text = "patient_id,a,label\n" + "".join(f"{70 + 3 * i},{i}.5,{i % 2}\n" for i in range(12))
    table.read(text)
    assert table.says("'patient_id' is another number in each row: --drop patient_id")


def counted(start, name, columns=2):
    rows = (f"{i + start},{i % 7}.5,{i % 2}" for i in range(20))
    return "\n".join([f"{name},a,label", *rows])


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", ["", "Unnamed: 0", "id", "Index", "PassengerId"])
def test_row_numbers_are_no_feature(table, start, name):
    assert len(table.x(counted(start, name))[0]) == 1
    assert table.says("counts the rows: left out")
    shown = name or "unnamed 1"
    assert len(table.x(counted(start, name), keep=(shown,))[0]) == 2


def test_what_else_counts_the_rows_is_told_or_asked_about(table):
    assert len(table.x(counted(0, "time"))[0]) == 2
    assert table.says("'time' counts the rows and is taken as a feature")
    nameless = counted(0, "a").split("\n", 1)[1]
    with pytest.raises(DatasetError, match="--drop 1"):
        table.read(nameless)
    assert len(table.x(nameless, drop=("1",))[0]) == 1
    assert len(table.x(nameless, keep=("1",))[0]) == 2


MISSING = ["", "NA", "n/a", "NaN", "null", "?", "None", "-"]


@pytest.mark.parametrize("mark", MISSING)
def test_missing_numbers_are_refused_left_out_or_filled(table, mark):
    text = f"a,b,label\n1,1,0\n{mark},5,1\n3,1,0\n5,1,1\n"
    with pytest.raises(DatasetError, match="line 3: values are missing: 'a' ×1; --missing drop"):
        table.read(text)
    assert table.x(text, missing="drop") == [[1, 1], [3, 1], [5, 1]]
    assert table.says("'a' ×1")
    content = table.read(text, missing="mean")
    assert content.splits["train"].x.tolist() == [[1, 1], [3, 5], [3, 1], [5, 1]]
    assert content.reading.table.columns[0].fill == 3
    assert table.says("'a' ×1: 3")


@pytest.mark.parametrize("labels", [("cat", "dog"), ("0.5", "1.5")])
def test_the_mean_is_that_of_the_samples_that_train(table, labels):
    """What is held out, by classes or not, may be far from the rest, and changes nothing."""
    is_class = np.array([i % 2 for i in range(20)])
    trains, held = hold_out(is_class if labels[0] == "cat" else is_class.astype(np.float32))
    cells = np.full(20, 1e6)
    cells[trains] = np.arange(len(trains))
    texts = list(map(str, cells))
    texts[held[0]] = texts[trains[0]] = ""
    content = table.read(
        lines(zip(texts, (labels[i] for i in is_class), strict=True)), missing="mean"
    )
    x = content.splits["train"].x[:, 0]
    mean = np.arange(1, len(trains)).mean()
    assert x[trains[0]] == x[held[0]] == mean
    assert content.reading.table.columns[0].fill == mean
    assert table.says(
        "2 missing numbers filled, in all splits, with the mean that their column has in the "
        f"{len(trains)} training samples: 'a' ×2: {mean:g}"
    )


def test_a_column_that_no_training_sample_has_is_not_filled(tmp_path):
    rows = [["", i % 2] for i in range(20)]
    rows[hold_out(np.array([i % 2 for i in range(20)]))[1][0]][0] = 5
    table = Table(tmp_path)
    with pytest.raises(DatasetError, match=r"'a' has no number in any training .*--drop 'a'"):
        table.read(lines(rows), missing="mean")


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("a,label\n1,0\n,\n2,1\n", {}, "line 3 has nothing but blanks, left out"),
        ("a,label\n\n1,0\n , \n2,1\n,\n\n\n", {}, "3 lines have .* the first is line 2"),
        ("a label\n1 0\n \t\n\n2 1\n", {"delimiter": "space"}, "2 lines .* first is line 3"),
        ("a,label\n1,0\n2,1\n\n \n", {}, None),
    ],
)
def test_rows_of_blanks_are_counted(table, text, options, told):
    assert table.x(text, **options) == [[1], [2]]
    found = [line for line in table.told if "nothing but blanks" in line]
    assert len(found) == (told is not None)
    assert told is None or re.search(told, found[0])


@pytest.mark.parametrize("mark", MISSING[:-2])
@pytest.mark.parametrize("labels", [("0", "1"), ("cat", "dog"), ("0.5", "1.5")])
def test_a_missing_label_is_no_class(table, mark, labels):
    rows = [(i + 0.5, labels[i % 2]) for i in range(6)]
    text = lines([*rows, (9.5, mark)])
    with pytest.raises(DatasetError, match="'label' ×1"):
        table.read(text)
    for missing in ("drop", "mean"):
        content = table.read(text, missing=missing)
        assert len(content.splits["train"].x) == 6
        assert content.classes == (0 if labels == ("0.5", "1.5") else 2)


def test_other_marks_of_missing_values(table):
    text = lines([(-999, 0), (1, 1), (2, 0), (4, 1)])
    assert table.x(text)[0] == [-999]
    assert table.says("-999 in 1 rows, which often marks a missing value")
    assert table.x(text, missing_marks=("-999",), missing="drop") == [[1], [2], [4]]
    labels = lines([(i, i % 2) for i in range(8)] + [(9, -999)])
    with pytest.raises(DatasetError, match="1 labels are -999"):
        table.read(labels)
    assert table.read(labels, targets="classes").classes == 3
    assert table.read(labels, missing_marks=("-999",), missing="drop").classes == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,label\n", "a header and nothing below"),
        ("a,b,label\n1,0\n2,1\n", "line 2: 2 columns, where the first line has 3"),
        ("a,label\n1,0\n2\n", "line 3: 1 columns, where the first line has 2"),
        ("a,label\n1,0\ninf,1\n2,0\n", "line 3: 'inf' in column 'a' is no finite number"),
        ("a,label\n1,0\n1e39,1\n2,0\n", "line 3: a number is beyond float32"),
        ("a,label\n1,0\n2x,1\n3,0\n", "line 3: '2x' is not a number, .* --drop a"),
        ("a,label\n1,0\n1,0\n2,0\n", "one class only"),
        ("a,label\n1,0\n", "one class only"),
        ("a,a,label\n1,2,0\n", "several columns called 'a'"),
        ('a,label\n1,"x\ny"\n2,z\n', "line 3: the label has a line break"),
        ('a,label\n1,"x\n2,z\n3,x\n', "line break"),
        ("when,label\n2024-01-05,0\n2024-02-06,1\n", "'when' holds dates .* --drop when"),
        ("My export\n\na,label\n1,0\n2,1\n", "line 1: 1 column .'My export'., .* remove"),
        ("a,label\n1,\0000\n2,1\n", "NUL bytes"),
        (
            "a,b,label\n" + "".join(f"n{i},m{i},{i % 2}\n" for i in range(30)),
            "'a' is text, .*; column 'b' is text, .* --drop a --drop b",
        ),
        ("who,label\n" + "".join(f"name {i},{i % 2}\n" for i in range(30)), "'who' is text, with"),
        ("a;label\n0.5;0\n0,75;1\n", "decimal point .* decimal comma"),
        ('a,label\n"1,234",0\n"2,345",1\n', "between thousands; .* --decimal"),
        ("id,label\n100100033,0\n100100034,1\n", "100100033 and 100100034, .* --drop id"),
        ("id,label\n18446744073709551610,0\n9,1\n", "column 'id' has 18446744073709551610"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_line_and_the_next_step(table, text, message):
    with pytest.raises(DatasetError, match=f"(?s){message}"):
        table.read(text)


def test_whole_numbers_with_few_samples_each_are_asked_about(table):
    text = lines([(i + 0.5, i % 60) for i in range(120)])
    with pytest.raises(DatasetError, match=r"60 different whole numbers in 120 .*--regression"):
        table.read(text)
    assert table.read(text, targets="numbers").classes == 0
    assert table.says("numbers to predict, 0 to 59")
    assert table.read(text, targets="classes").classes == 60
    names = lines([(i + 0.5, f"n{i}") for i in range(120)])
    with pytest.raises(DatasetError, match="120 different texts"):
        table.read(names)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["18446744073709551610", "18446744073709551611"], None),
        (["007", "7"], ("007", "7")),
        (["Yes", "yes"], ("Yes", "yes")),
        (["cafe\u0301", "x"], ("caf\u00e9", "x")),
        (["1.0", "2.0"], ("1", "2")),
    ],
)
def test_labels_stay_apart(table, labels, names):
    content = table.read(lines([(i + 0.5, labels[i % 2]) for i in range(6)]))
    assert content.class_names == (names or tuple(labels))
    assert table.says("differ in case only") is (labels[0] == "Yes")


def test_texts_are_categories_that_new_tables_must_have(table, tmp_path):
    text = "colour,size,label\n" + "red,1,a\nblue,2,b\ngreen,3,a\n" * 4
    content = table.read(text)
    assert content.splits["train"].x[0].tolist() == [0, 0, 1, 1]
    assert table.says("'colour' is text: a feature of 0 or 1 for each of 'blue', 'green', 'red'")
    assert table.says("colour (category)")


def test_constant_columns_are_told(table):
    table.read("a,b,label\n1,5,0\n2,5,1\n")
    assert table.says("'b' is 5 throughout")


def test_a_long_table_is_read_in_blocks(table):
    rows = [(i % 50 + 0.5, "NA" if i == 4500 else i % 2) for i in range(5000)]
    with pytest.raises(DatasetError, match=r"line 4502: .*'label' ×1"):
        table.read(lines(rows))
    assert len(table.x(lines(rows), missing="drop")) == 4999


OWNED = "age,user id,label\n" + "\n".join(
    f"{i / 8},{('007', '10', '2', 'x; y')[i % 4]},{i % 2}" for i in range(16)
)


def test_a_column_that_tells_whose_a_row_is_is_kept_as_it_is_written_and_is_no_feature(table):
    made = table.read(OWNED, by=("user id",))
    train = made.splits["train"]
    assert train.x.shape == (16, 1)
    assert train.owners["user id"].tolist() == ["007", "10", "2", "x; y"] * 4
    assert table.says("column 'user id' tells whose a row is, of 4 clients, and is no feature")


def test_a_row_that_is_nobodys_lacks_a_value(table):
    text = OWNED.replace("10,1\n", ",1\n", 1)
    with pytest.raises(DatasetError, match="line 3: values are missing: 'user id' ×1"):
        table.read(text, by=("user id",))
    made = table.read(text, by=("user id",), missing="drop")
    assert len(made.splits["train"].x) == len(made.splits["train"].owners["user id"]) == 15


@pytest.mark.parametrize(
    ("by", "message"),
    [("label", "--by label is the label"), ("hospital", "--by 'hospital'|no column")],
)
def test_whose_a_row_is_is_told_by_another_column_than_the_label(table, by, message):
    with pytest.raises(DatasetError, match=message):
        table.read(OWNED, by=(by,), label="label")


def test_tables_to_predict_need_not_say_whose_a_row_is(table, tmp_path):
    made = table.read(OWNED, by=("user id",))
    like = dataset_spec(
        name="owned",
        version="1.0.0",
        input_shape=(1,),
        input_dtype="float32",
        classes=2,
        train_samples=16,
        test_samples=4,
        reading=made.reading,
    )
    (tmp_path / "new.csv").write_text("age\n0.5\n")
    assert read_inputs_of(tmp_path / "new.csv", ReadOptions(like=like)).x.tolist() == [[0.5]]

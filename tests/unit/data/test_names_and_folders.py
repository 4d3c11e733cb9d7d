from __future__ import annotations

import json

import pytest

from disdel.data.folders import all_prepared, find_prepared, publish, staging
from disdel.data.names import DatasetRef, check_new_name, parse_name, unknown_name
from disdel.errors import DatasetError


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("mnist", DatasetRef("mnist")),
        ("emnist/letters", DatasetRef("emnist", "letters")),
        ("mnist:3.0.1", DatasetRef("mnist", None, "3.0.1")),
        ("cifar10_corrupted/fog_1:1.0.0", DatasetRef("cifar10_corrupted", "fog_1", "1.0.0")),
    ],
)
def test_a_name_is_read_and_written_alike(text, ref):
    assert parse_name(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize("text", ["", "../mnist", "mnist/..", "a b", "a/b/c", "mnist:3", "/mnist"])
def test_other_names_are_refused(text):
    with pytest.raises(DatasetError, match="not the name of a data set"):
        parse_name(text)


@pytest.mark.parametrize("name", ["Mine", "9lives", "a-b", "_x", ""])
def test_new_names_are_those_tfds_allows(name):
    with pytest.raises(DatasetError, match="cannot name a data set"):
        check_new_name(name)


def test_an_unknown_name_suggests_near_ones_and_the_next_step():
    message = str(unknown_name(DatasetRef("minst"), ["mnist", "coco"]))
    assert message.startswith(
        "unknown data set 'minst'; did you mean 'mnist'? `disdel dataset list`"
    )


def prepare(data_dir, *parts):
    folder = data_dir.joinpath(*parts)
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_the_newest_version_is_meant_unless_one_is_named(tmp_path):
    prepare(tmp_path, "a", "1.9.0")
    prepare(tmp_path, "a", "1.10.0")
    (tmp_path / "a" / "2.0.0.incompleteXYZ").mkdir()
    (tmp_path / "a" / "3.0.0").mkdir()
    found = find_prepared(DatasetRef("a"), tmp_path)
    assert found is not None
    assert found.version == "1.10.0"
    named = find_prepared(DatasetRef("a", None, "1.9.0"), tmp_path)
    assert named is not None
    assert named.version == "1.9.0"
    assert find_prepared(DatasetRef("a", None, "1.8.0"), tmp_path) is None
    assert find_prepared(DatasetRef("b"), tmp_path) is None


def test_the_only_configuration_is_meant(tmp_path):
    prepare(tmp_path, "emnist", "letters", "3.1.0")
    found = find_prepared(DatasetRef("emnist"), tmp_path)
    assert found is not None
    assert found.full_name == "emnist/letters"


def test_of_several_configurations_the_recorded_default_is_meant(tmp_path):
    prepare(tmp_path, "emnist", "letters", "3.1.0")
    prepare(tmp_path, "emnist", "digits", "3.1.0")
    with pytest.raises(DatasetError, match=r"name one: emnist/digits, emnist/letters"):
        find_prepared(DatasetRef("emnist"), tmp_path)
    (tmp_path / "emnist" / ".config").mkdir()
    default = json.dumps({"default_config_name": "digits"})
    (tmp_path / "emnist" / ".config" / "metadata.json").write_text(default)
    found = find_prepared(DatasetRef("emnist"), tmp_path)
    assert found is not None
    assert found.config == "digits"


def test_every_prepared_set_is_listed_once_and_work_in_progress_is_not(tmp_path):
    prepare(tmp_path, "a", "1.0.0")
    prepare(tmp_path, "a", "1.0.1")
    prepare(tmp_path, "emnist", "letters", "3.1.0")
    with staging(tmp_path) as scratch:
        prepare(scratch, "b", "1.0.0")
        assert [f.full_name for f in all_prepared(tmp_path)] == ["a", "emnist/letters"]
    assert all_prepared(tmp_path / "absent") == []


def test_publishing_replaces_what_is_there(tmp_path):
    old = prepare(tmp_path, "a", "1.0.0")
    (old / "old").touch()
    with staging(tmp_path) as scratch:
        new = prepare(scratch, "new")
        (new / "new").touch()
        publish(new, old)
    assert {path.name for path in old.iterdir()} == {"dataset_info.json", "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def fail_with_work_in_progress(data_dir):
    with staging(data_dir) as scratch:
        (scratch / "file").touch()
        raise ZeroDivisionError


def test_staging_is_removed_when_the_work_fails(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fail_with_work_in_progress(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(DatasetError, match=r"cannot write in .*file.*--data-dir"),
        staging(tmp_path / "file"),
    ):
        pass

"""Model files from elsewhere: read without being trusted, and refused in a sentence."""

import json
import shutil
import struct
import zipfile

import pytest

from disdel.controller.inference.model_source import find_model
from disdel.controller.planning.trusted_code import vouch_for
from disdel.errors import UsageError
from disdel.models import keras_config
from disdel.models.keras_config import input_shape, read_keras_config, runs_code
from disdel.models.torch_files import read_torch_file
from disdel.user_code.collecting import collect


def layer(class_name, module="keras.layers", **config):
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


def network(*layers):
    first = layer("InputLayer", batch_shape=[None, 8, 8, 1])
    return layer("Sequential", module="keras", layers=[first, *layers])


def keras_file(path, config, method=zipfile.ZIP_STORED):
    text = config if isinstance(config, str | bytes) else json.dumps(config)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("config.json", text)
    return path


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A model whose code lies beside it."""
    monkeypatch.setenv("DISDEL_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "net.py").write_text("def make(): pass")
    code = collect(f"{tmp_path}/net.py:make")
    folder = tmp_path / "elsewhere"
    code.write(folder / "code")
    return keras_file(folder / "model.keras", network()), code


def test_code_beside_a_model_is_run_where_it_is_this_user_s(elsewhere, tmp_path):
    path, code = elsewhere
    find = lambda **options: find_model(str(path), "digits", tmp_path, **options)  # noqa: E731
    with pytest.raises(UsageError, match=r"elsewhere/code/net\.py.*--trust-code.*--model-code"):
        find()
    assert find(trust_code=True).code.files == code.files
    assert find(code=f"{tmp_path}/net.py:make").code.folder == tmp_path
    assert vouch_for(code) is None
    assert find().code.files == code.files
    # A client's own model lies one folder deeper.
    personal = path.parent / "personal" / "7.keras"
    personal.parent.mkdir()
    shutil.copy(path, personal)
    assert find_model(str(personal), "digits", tmp_path).code.files == code.files
    # The digest that it tells of itself proves nothing.
    (path.parent / "code" / "net.py").write_text("def make(): ...")
    with pytest.raises(UsageError, match="--trust-code"):
        find()
    code.write(path.parent / "code")
    (path.parent / "code" / "more.py").touch()
    with pytest.raises(UsageError, match="--trust-code"):
        find()


def test_where_trust_cannot_be_kept_that_is_said(elsewhere, tmp_path):
    (tmp_path / "state").touch()
    assert "will ask for --trust-code" in vouch_for(elsewhere[1])


@pytest.mark.parametrize(
    ("config", "runs"),
    [
        (network(layer("Dense", units=3)), []),
        (network(layer("Own", module="user_code_net")), ["user_code_net.Own"]),
        (network(layer("Lambda", function=[])), ["Python code in a Lambda layer"]),
        (network(layer("Dense", activation=layer("system", "os"))), ["os.system"]),
        (network() | {"compile_config": {"loss": layer("mine", "user_code_net")}}, []),
    ],
)
def test_what_loading_a_keras_file_would_run(tmp_path, config, runs):
    path = keras_file(tmp_path / "model.keras", config)
    read = read_keras_config(path)
    assert (input_shape(read), runs_code(read)) == ((8, 8, 1), runs)
    if runs:
        with pytest.raises(UsageError, match="--trust-code"):
            find_model(str(path), "digits", tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"config": 3}',
        "[" * 100_000,
        b"\xff\xfe\x00",
        '{"config": {}',
    ],
)
def test_what_is_no_keras_file_is_refused(tmp_path, content):
    path = keras_file(tmp_path / "model.keras", content)
    with pytest.raises(UsageError, match="is no Keras file"):
        read_keras_config(path)


@pytest.mark.parametrize(
    "config",
    [
        {"config": {"layers": 3}},
        {"config": {"layers": [3, {"class_name": "InputLayer"}, {"class_name": 4, "config": 1}]}},
        {"config": {"layers": [{"class_name": "InputLayer", "config": {"batch_shape": 7}}]}},
        {"config": {"layers": [{"class_name": "InputLayer", "config": {"batch_shape": ["a"]}}]}},
        {"config": {"layers": [{"class_name": "InputLayer", "config": []}]}},
    ],
)
def test_an_odd_configuration_tells_no_shape(config):
    assert input_shape(config) is None
    assert runs_code(config) == []


def damaged(data):
    """The bytes of a zip, damaged in several ways."""
    flags = data.index(b"PK\x01\x02") + 8
    method = flags + 2
    yield "encrypted", data[:flags] + b"\x01" + data[flags + 1 :]
    yield "method", data[:method] + struct.pack("<H", 9) + data[method + 2 :]
    yield "cut", data[: len(data) // 2]
    yield "text", b"not a zip"
    yield "empty", b""


@pytest.mark.parametrize("kind", ["encrypted", "method", "cut", "text", "empty"])
def test_a_damaged_keras_file_is_refused(tmp_path, kind):
    path = keras_file(tmp_path / "model.keras", network(), zipfile.ZIP_DEFLATED)
    path.write_bytes(dict(damaged(path.read_bytes()))[kind])
    with pytest.raises(UsageError, match="is no Keras file"):
        read_keras_config(path)


def test_a_keras_file_that_grows_beyond_measure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_config, "_BOMB_BYTES", 1 << 20)
    path = keras_file(tmp_path / "model.keras", " " * (4 << 20), zipfile.ZIP_DEFLATED)
    with pytest.raises(UsageError, match=r"unpacks from .* to 4,194,304 bytes"):
        read_keras_config(path)


def header(fields, length=None):
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        header({}),
        header({}, length=1 << 62),
        header({}, length=(1 << 64) - 1),
        header(b"[" * 100_000),
        header({"a": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 4]}}),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1 << 40]}}),
        header({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}),
        header({"__metadata__": {"disdel": "["}}),
        header({"__metadata__": {"disdel": "[" * 100_000}}),
        header({"__metadata__": {"disdel": "[]"}}),
        header({"__metadata__": {"disdel": '{"version": 1}'}}),
        header({"__metadata__": {"disdel": '{"version": 1, "model": {"name": 3}}'}}),
    ],
)
def test_a_hostile_safetensors_file_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"is no model of disdel's|its version"):
        read_torch_file(path)

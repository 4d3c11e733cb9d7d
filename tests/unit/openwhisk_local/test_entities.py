from __future__ import annotations

import base64
from typing import Any

import pytest

from openwhisk_local.containers.images import image_key, image_of_key, is_image_name, known_kinds
from openwhisk_local.entities.actions import Action, put_action, read_action_put
from openwhisk_local.entities.execs import Code, read_exec
from openwhisk_local.entities.fields import next_version
from openwhisk_local.entities.names import Name, check_name
from openwhisk_local.entities.packages import Package, put_package, read_package_put
from openwhisk_local.limits import platform_limits
from openwhisk_local.replies import ApiError

STOCK = platform_limits("stock")
SOURCE = {"kind": "python:3", "code": "def main(args): return args"}


def make(wire: dict[str, Any], old: Action | None = None) -> Action:
    return put_action(Name("p", "a"), read_action_put(wire), old, STOCK, now_ms=1)


def package(wire: dict[str, Any], old: Package | None = None) -> Package:
    return put_package(Name(None, "p"), read_package_put("p", wire), old, now_ms=1)


@pytest.mark.parametrize("name", ["a", "_", "a b", "a@b.c-d&e", "a" * 256, "9"])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", " a", "a ", ".a", "a/b", "é", "a\n", "@"])
def test_illegal_names(name: str) -> None:
    with pytest.raises(ApiError) as refused:
        check_name(name)
    assert (refused.value.status, refused.value.message) == (
        400,
        "The name of the entity contains illegal characters.",
    )


def test_a_long_name() -> None:
    with pytest.raises(ApiError, match=r"Name segement longer than allowed: 257 > 256\."):
        check_name("a" * 257)


def test_versions() -> None:
    assert next_version("0.0.9") == "0.0.10"
    assert next_version("3.2.1") == "3.2.2"


BASE64 = base64.b64encode(bytes(range(200))).decode()


@pytest.mark.parametrize(
    ("code", "binary"),
    [
        (BASE64, True),
        (f"  {BASE64}\n", True),
        ("abcd", True),
        ("ab==", True),
        (BASE64[:40] + "\n" + BASE64[40:], False),
        ("def main(args): pass", False),
        ("abc", False),
        ("a===", False),
        ("", False),
        (None, False),
    ],
)
def test_binary_is_computed_from_the_code(code: str | None, binary: bool) -> None:
    assert Code.of("python:3", code).binary is binary


def test_a_new_action() -> None:
    action = make({"exec": SOURCE, "annotations": [{"key": "a", "value": 1}]})
    assert action.to_wire() == {
        "namespace": "guest/p",
        "name": "a",
        "exec": {**SOURCE, "binary": False},
        "parameters": [],
        "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1},
        "version": "0.0.1",
        "publish": False,
        "annotations": [
            {"key": "a", "value": 1},
            {"key": "provide-api-key", "value": False},
            {"key": "exec", "value": "python:3"},
        ],
        "updated": 1,
    }
    assert not action.wants_api_key


def test_the_default_kind_is_stored_resolved() -> None:
    action = make({"exec": {"kind": "Python:Default", "code": "x"}})
    assert action.exec.kind == "python:3.11"
    assert action.annotations["exec"] == "python:3.11"


def test_a_written_refusal_or_wish_for_the_key_is_kept() -> None:
    wish = [{"key": "provide-api-key", "value": True}]
    assert make({"exec": SOURCE, "annotations": wish}).wants_api_key


def test_updates_merge_limits_and_annotations_and_replace_the_rest() -> None:
    old = make(
        {
            "exec": SOURCE,
            "parameters": [{"key": "x", "value": 1}],
            "annotations": [{"key": "a", "value": 1}, {"key": "gone", "value": 1}],
            "limits": {"memory": 512},
            "publish": True,
        }
    )
    new = make(
        {
            "parameters": [{"key": "y", "value": 2}, {"key": "y", "value": 3}],
            "annotations": [{"key": "b", "value": 2}],
            "delAnnotations": ["gone"],
            "limits": {"timeout": 1000},
        },
        old,
    )
    assert {key: parameter.value for key, parameter in new.parameters.items()} == {"y": 3}
    assert set(new.annotations) == {"provide-api-key", "a", "b", "exec"}
    assert (new.limits.memory_mb, new.limits.timeout_ms) == (512, 1000)
    assert (new.version, new.publish, new.exec) == ("0.0.2", True, old.exec)


def test_packages_replace_their_annotations() -> None:
    old = package({"annotations": [{"key": "a", "value": 1}], "publish": True})
    kept = package({"parameters": [{"key": "x", "value": 1}]}, old)
    new = package({"annotations": [{"key": "b", "value": 1}]}, kept)
    assert (kept.annotations, kept.publish, kept.version) == ({"a": 1}, True, "0.0.2")
    assert (new.annotations, set(new.parameters)) == ({"b": 1}, {"x"})


def test_the_warm_key_ignores_the_time_and_nothing_else() -> None:
    action = make({"exec": SOURCE})
    again = put_action(Name("p", "a"), read_action_put({"exec": SOURCE}), None, STOCK, now_ms=99)
    assert action.warm_key == again.warm_key
    for change in (
        {"limits": {"memory": 128}},
        {"parameters": [{"key": "x", "value": 1}]},
        {"version": "1.0.0"},
        {"publish": True},
        {"annotations": [{"key": "x", "value": 1}]},
        {"exec": {**SOURCE, "main": "other"}},
        {"exec": {**SOURCE, "code": "other"}},
    ):
        assert make({"exec": SOURCE, **change}).warm_key != action.warm_key


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ({}, "'kind' must be a string defined in 'exec'"),
        (
            {"kind": "foo:1", "code": ""},
            "The specified runtime 'foo:1' is not supported by this platform. "
            f"Valid values are: {', '.join(map(repr, (*known_kinds(), 'sequence', 'blackbox')))}.",
        ),
        ({"kind": "blackbox", "image": "no image", "code": ""}, "could not parse image name"),
        ({"kind": "sequence"}, "'components' must be defined for sequence kind"),
        ({"kind": "sequence", "components": {}}, "'components' must be an array"),
        (
            {"kind": "sequence", "components": ["a"]},
            "requirement failed: The fully qualified name of the entity must contain at least the "
            "namespace and the name of the entity.",
        ),
    ],
)
def test_malformed_exec(wire: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_exec(wire)
    assert refused.value.status == 400
    assert refused.value.message == f"The request content was malformed:\n{message}"


def test_code_has_a_size_limit() -> None:
    size = 48 * (1 << 20)
    assert read_exec({"kind": "python:3", "code": "#" * size}).code
    with pytest.raises(ApiError) as refused:
        read_exec({"kind": "python:3", "code": "#" * size, "main": "m"})
    assert refused.value.status == 413
    assert refused.value.message == f"exec larger than allowed: {size + 1} > {size} bytes."


@pytest.mark.parametrize(
    "parameters",
    [{}, "x", [1], [{"key": 1, "value": 1}], [{"key": "x"}]],
)
def test_malformed_parameters(parameters: object) -> None:
    with pytest.raises(ApiError, match="parameters malformed!"):
        package({"parameters": parameters})


def test_parameters_have_a_size_limit() -> None:
    pair = {"key": "x", "value": "v" * (1 << 20)}
    with pytest.raises(ApiError, match="parameters larger than allowed: 1048579 > 1048576 bytes"):
        package({"parameters": [pair]})


@pytest.mark.parametrize(
    "image",
    [
        "disdel/runtime-tensorflow",
        "disdel/runtime-tensorflow:1.2",
        "localhost:5000/disdel/runtime-tensorflow:x",
        "ghcr.io/disdel/runtime-tensorflow@sha256:" + "0" * 64,
    ],
)
def test_images_of_this_machine(image: str) -> None:
    assert is_image_name(image)
    found = image_of_key(image_key("blackbox", image))
    assert found is not None
    assert found.env["DISDEL_PREIMPORT"] == "numpy,tensorflow,keras"


@pytest.mark.parametrize("image", ["me/img:tag", "runtime-tensorflow", "disdel/other"])
def test_images_of_elsewhere(image: str) -> None:
    assert is_image_name(image)
    assert image_of_key(image_key("blackbox", image)) is None

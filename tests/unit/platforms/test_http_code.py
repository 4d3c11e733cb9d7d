"""What travels to a function behind a URL, and what must be there already."""

import base64
import io
import json
import zipfile
from dataclasses import replace

import pytest

from disdel.controller.invoking.bundle import build_bundle
from disdel.errors import PlatformRejected
from disdel.protocol.calls import CALLS_VERSION, PACKAGES
from tests.contract.test_platform import action
from tests.support.http_gateway import HELLO, gateway, invoked, record, using


def bundle(**extra):
    return replace(action(), code=build_bundle("train", files=extra))


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        ({"library": "f" * 32}, "as here, but with other files: deploy anew"),
        ({"library": "f" * 32, "version": "0.0.1"}, "has disdel 0.0.1, and this is .* older side"),
    ],
)
def test_another_library_than_this_is_refused_before_the_first_call(hello, said):
    with gateway(**hello) as server, pytest.raises(PlatformRejected, match=said):
        using(server, invoked(), spec=bundle())
    assert not server.asked


def test_only_what_is_a_runs_own_travels():
    sent = []

    def answer(request, _):
        if "code" not in request:
            return {"disdel": CALLS_VERSION, "wants": request["digest"]}
        sent.append(request["code"])
        return record(request)

    with gateway(answer) as server:
        using(server, invoked(), spec=bundle(**{"user_code/net.py": b"x = 1"}))
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(sent[0]))) as archive:
        assert archive.namelist() == ["__main__.py", "user_code/net.py"]


COMPUTING = {"iree-base-runtime": "3.9.0", "ml_dtypes": "0.5.4", "numpy": "2.4.6"}


def compiled():
    """An action as those of compiled networks are, with little in its packages."""
    facts = {
        "versions": {**COMPUTING, "redis": "7.0"},
        "machines": ["x86_64"],
        "folders": ["iree", "numpy"],
        "library": HELLO["library"],
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packages:
        packages.writestr(PACKAGES, json.dumps(facts))
        for name in ("disdel/__init__.pyc", "iree/runtime/__init__.pyc", "numpy/__init__.pyc"):
            packages.writestr(name, b"")
    files = {"program/program.json": b"{}"}
    code = build_bundle("train", packages=buffer.getvalue(), files=files)
    return replace(action(), code=code)


def test_of_a_compiled_network_its_own_files_travel():
    sent = []

    def answer(request, _):
        if "code" not in request:
            return {"disdel": CALLS_VERSION, "wants": request["digest"]}
        sent.append(base64.b64decode(request["code"]))
        return record(request)

    with gateway(answer, packages={**COMPUTING, "redis": "6.4"}) as server:
        using(server, invoked(), spec=compiled())
    with zipfile.ZipFile(io.BytesIO(sent[0])) as archive:
        assert archive.namelist() == ["__main__.py", "program/program.json"]


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        ({}, "has no iree-base-runtime, .* writes, or take --runtime torch or tensorflow"),
        (
            {"packages": {**COMPUTING, "numpy": "2.4.5"}},
            r"has numpy 2.4.5, and the network is compiled for 2.4.6: deploy anew what",
        ),
        (
            {"packages": {**COMPUTING, "iree-base-runtime": "3.10.0"}},
            r"install iree-base-runtime==3.10.0 here, which is the older side, or deploy",
        ),
        ({"packages": [1]}, "has no iree-base-runtime"),
        (
            {"packages": COMPUTING, "machine": "aarch64"},
            "runs on aarch64, and the network is compiled for x86_64: .* --arch",
        ),
        ({"packages": COMPUTING, "library": "other"}, "other files: deploy anew"),
    ],
)
def test_a_function_that_lacks_what_a_compiled_network_needs_is_refused(hello, said):
    with gateway(**hello) as server, pytest.raises(PlatformRejected, match=said):
        using(server, invoked(), spec=compiled())
    assert not server.asked


def test_code_that_no_request_has_room_for_is_refused():
    import os

    with gateway() as server, pytest.raises(PlatformRejected, match="bytes of code of its own"):
        using(server, invoked(), spec=bundle(data=os.urandom(1 << 20)))

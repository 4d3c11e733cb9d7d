"""What is deployed on Lambda: zips, images, names, and the limits that both are held to."""

import base64
import hashlib
import io
import json
import random
import re
import zipfile
from contextlib import nullcontext

import pytest

from disdel.entry.lambda_image import CODE, CODE_ENV
from disdel.errors import PlatformRejected, UsageError
from disdel.platforms.lambda_.limits import (
    CODE_BYTES_IN_EVENT,
    PAYLOAD_BYTES,
    UNZIPPED_BYTES,
    ZIP_BYTES,
    payload_bytes,
)
from disdel.platforms.lambda_.options import LambdaOptions
from disdel.platforms.lambda_.packing import packed
from disdel.platforms.registry import chosen
from disdel.settings import Settings
from tests.support.lambda_client import REGISTRY, spec, with_client, zipped
from tests.support.stub_lambda import StubLambda


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"memory_mb": 127}, 400, "127 MB, and an action has 128 to 10240"),
        ({"memory_mb": 10_241}, 400, "10241 MB, and an action has 128 to 10240"),
        ({"timeout_s": 901.0}, 400, "901 s, and is cut after 900 s"),
        ({"kind": "python:3.8"}, 400, "Lambda has Python 3.11, 3.12, 3.13"),
        ({"kind": None, "image": "disdel/runtime-torch:1"}, 400, "option image_prefix=.*compiled"),
    ],
    ids=str,
)
def test_what_is_beyond_a_limit_is_refused_with_it(changes, status, said):
    with StubLambda() as stub, pytest.raises(PlatformRejected, match=said) as rejected:
        with_client(stub, lambda p: p.create_action("p", spec(**changes)))
    assert rejected.value.status == status


def of_image(**changes):
    return spec(**{"kind": None, "image": "disdel/runtime-torch:1", **changes})


@pytest.mark.parametrize(
    ("image", "asked"),
    [
        ("disdel/runtime-torch:1", f"{REGISTRY}/mine/runtime-torch:1"),
        ("registry.example/team/runtime-torch:1", f"{REGISTRY}/mine/runtime-torch:1"),
        (f"{REGISTRY}/other:2", f"{REGISTRY}/other:2"),
    ],
)
def test_an_action_of_an_image_is_made_of_that_and_brings_its_code(image, asked):
    async def use(platform):
        await platform.create_action("p", of_image(image=image, parameters={"own": 1}))
        return await platform.invoke("p", "act", {"n": 1})

    options = {"image_prefix": f"{REGISTRY}/mine/", "files_mb": 1024}
    with StubLambda() as stub:
        record = with_client(stub, use, options=options)
    made = stub.created[-1]
    assert (made["PackageType"], made["Code"]) == ("Image", {"ImageUri": asked})
    assert not {"Handler", "Runtime"} & made.keys()
    assert made["EphemeralStorage"] == {"Size": 1024}
    code = base64.b64decode(record.result[CODE])
    assert zipfile.ZipFile(io.BytesIO(code)).namelist() == ["__main__.py", "padding"]
    variables = made["Environment"]["Variables"]
    assert variables[CODE_ENV] == hashlib.sha256(code).hexdigest()
    assert {name: record.result[name] for name in record.result if name != CODE} == {
        "own": 1,
        "n": 1,
    }


def test_an_event_has_room_for_arguments_and_code():
    options = {"image_prefix": f"{REGISTRY}/"}
    # In base64, and what a zip has around a file.
    code = random.Random(0).randbytes(CODE_BYTES_IN_EVENT * 3 // 4 - 1200)
    most = "x" * (payload_bytes(LambdaOptions(**options)) - len('{"pad":""}'))
    sizes = []

    def answer(_, event):
        sizes.append(len(json.dumps(event, separators=(",", ":"))))
        return 200, {}, {}

    def call(stub, code, pad):
        async def use(platform):
            await platform.create_action("p", of_image(code=zipped(padding=code)))
            return await platform.invoke("p", "act", {"pad": pad})

        return with_client(stub, use, options=options)

    with StubLambda(answer) as stub:
        assert call(stub, code, most).ending == "success"
        with pytest.raises(PlatformRejected, match=r"takes \d+ beside the code") as longer:
            call(stub, code, most + "x")
        with pytest.raises(PlatformRejected, match="bytes of code of its own") as larger:
            call(stub, code + random.Random(1).randbytes(1200), most)
    assert (longer.value.status, larger.value.status) == (413, 413)
    assert len(sizes) == 1
    assert PAYLOAD_BYTES - 2000 < sizes[0] <= PAYLOAD_BYTES


def test_an_image_of_another_region_is_refused_before_anything_is_made():
    options = {"image_prefix": f"{REGISTRY}/", "region": "us-west-2"}
    with StubLambda() as stub:
        told = r"registry of us-east-1, and functions of us-west-2"
        with pytest.raises(PlatformRejected, match=told):
            with_client(stub, lambda p: p.create_action("p", of_image()), options=options)
        assert [made["PackageType"] for made in stub.created] == ["Zip"]


def test_images_run_where_somebody_says_where_they_are():
    def traits(**changes):
        return chosen(Settings(platform="lambda", **changes)).traits

    assert not traits().runs_images
    assert traits(platform_options=(f"image_prefix={REGISTRY}/",)).runs_images
    assert traits(image_prefix=f"{REGISTRY}/mine/").runs_images
    assert not traits(image_prefix="registry.example/mine/").runs_images
    # It is said of one run, and not from then on.
    assert not traits().runs_images


def test_without_a_role_nothing_is_deployed():
    with StubLambda() as stub, pytest.raises(UsageError, match="--platform-option role=ARN"):
        with_client(stub, lambda p: p.capacity(), options={"role": None})


def test_a_zip_has_the_handler_and_is_held_to_its_sizes():
    made = packed("act", zipped(), "x86_64", has_bucket=False)
    names = zipfile.ZipFile(io.BytesIO(made)).namelist()
    assert {"__main__.py", "disdel/entry/lambda_handler.py", "disdel/entry/call.py"} <= set(names)
    assert len(names) == len(set(names))
    large = zipped(padding=bytes(ZIP_BYTES), stored=zipfile.ZIP_STORED)
    told = r"a zip of 50\.0 MB, .* 50 MB .*bucket=NAME"
    with pytest.raises(PlatformRejected, match=told) as rejected:
        packed("act", large, "x86_64", has_bucket=False)
    assert rejected.value.status == 413
    assert len(packed("act", large, "x86_64", has_bucket=True)) > ZIP_BYTES
    with pytest.raises(PlatformRejected, match=r"unpacks to 250\.0 MB, and Lambda takes 250 MB"):
        packed("act", zipped(padding=bytes(UNZIPPED_BYTES)), "x86_64", has_bucket=True)


def elf(machine):
    return b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little") + bytes(44)


X86, ARM, SPARC = 0x3E, 0xB7, 0x2B


@pytest.mark.parametrize(
    ("files", "architecture", "said"),
    [
        ({"own/a.so": ARM}, "x86_64", r"own/a\.so in the code of act .*for arm64, .*on x86_64"),
        ({"own/a.so": X86}, "arm64", r"for x86_64, .*--arch arm64; or .*architecture=x86_64"),
        ({"own/a.so": SPARC}, "x86_64", r"for machine 43, .*--arch amd64$"),
        ({"numpy/x.so": X86, "numpy/a.so": ARM, "own/a.so": ARM}, "x86_64", r"own/a\.so"),
        ({"numpy/x.so": X86, "numpy/a.so": ARM}, "arm64", None),
        ({"numpy/x.so": X86}, "x86_64", None),
    ],
)
@pytest.mark.parametrize("image", [None, "disdel/runtime-torch:1"])
def test_what_no_processor_of_a_function_can_load_is_not_sent(files, architecture, said, image):
    buffer = io.BytesIO(zipped())
    with zipfile.ZipFile(buffer, "a") as archive:
        for path, machine in files.items():
            archive.writestr(path, elf(machine))
    options = {"architecture": architecture, "image_prefix": f"{REGISTRY}/"}
    made = spec(code=buffer.getvalue(), image=image, kind=None if image else "python:3.11")
    raised = nullcontext() if said is None else pytest.raises(PlatformRejected, match=said)
    with StubLambda() as stub, raised:
        with_client(stub, lambda p: p.create_action("p", made), options=options)


def test_functions_have_names_that_lambda_takes():
    with StubLambda() as stub:

        async def use(platform):
            return [
                platform._deploying.function(package, action)
                for package, action in [
                    ("disdel-1", "train-128"),
                    ("disdel-1", "train-37.5s"),
                    ("disdel-1", "train-37_5s"),
                    ("p" * 80, "train"),
                    ("p" * 80, "train-256"),
                ]
            ]

        names = with_client(stub, use)
    assert names[0] == "disdel-1-train-128"
    assert len(set(names)) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)

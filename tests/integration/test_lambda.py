"""Trainings on AWS's emulator of Lambda, and deployments on a server of AWS's APIs."""

import asyncio
import contextlib
import io
import json
import subprocess
import sys
import urllib.request
import zipfile

import pytest

import disdel
from disdel.controller.invoking.exporting import export
from disdel.controller.planning.checks import run_checks
from disdel.controller.training import speculation
from disdel.errors import UsageError
from disdel.jobs import run_plan
from disdel.platforms.base import ActionSpec
from disdel.platforms.lambda_.client import Lambda
from disdel.platforms.lambda_.limits import ZIP_BYTES
from disdel.platforms.lambda_.options import LambdaOptions
from disdel.runtimes.registry import TORCH
from disdel.settings import Settings
from disdel.types import TrainJob
from tests.support.environments import python_of
from tests.support.lambda_emulator.image import images_of
from tests.support.platforms import OWN_KIND, lambda_emulator
from tests.support.ports import free_port
from tests.support.stub_lambda import ROLE
from tests.support.waiting import wait_until

# Of all invocations, counted from 1: of cold containers and of warm ones.
KILLED = {2, 5, 7}
LOST = {1, 3, 6}


def trained(tmp_path, name, *, kills=(), loses=()):
    """The report, and how many invocations there were."""
    with lambda_emulator() as emulator:
        emulator.kills.update(kills)
        emulator.loses.update(loses)
        ended = disdel.train(
            "digits",
            epochs=2,
            workers=2,
            runtime="compiled",
            platform="lambda",
            platform_option=(f"endpoint={emulator.url}", f"role={ROLE}"),
            run_dir=tmp_path / name,
        )
        assert emulator.left() == []
    return ended.report, emulator.counts["invoked"]


@pytest.mark.framework
@pytest.mark.skipif(OWN_KIND != "python:3.11", reason="the emulator has this machine's Python")
def test_killed_containers_and_lost_answers_change_nothing_of_what_is_learnt(
    tmp_path, compiled_state_dir, monkeypatch
):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(compiled_state_dir))
    # A container that has to start again is late where the machine does much else.
    monkeypatch.setattr(speculation, "LATE_MARGIN_S", 600.0)
    whole, invoked = trained(tmp_path, "whole")
    assert (whole.status, whole.platform, whole.totals.failed) == ("ok", "lambda", 0)
    assert all(activation.peak_mb for activation in whole.activations)
    cut, invoked_then = trained(tmp_path, "cut", kills=KILLED, loses=LOST)
    assert (cut.status, cut.totals.failed) == ("ok", len(KILLED))
    # What was found in the store was not executed again.
    assert invoked_then == invoked + len(KILLED)
    # Nobody has run out of memory, so nobody needs more.
    assert {activation.memory_mb for activation in cut.activations} == {128}
    assert (cut.accuracy, cut.loss) == (whole.accuracy, whole.loss)
    assert [e.checksum for e in cut.ledger] == [e.checksum for e in whole.ledger]


@pytest.mark.framework
def test_images_train_what_no_zip_has_room_for(tmp_path):
    pytest.importorskip("torch")
    export("lambda", tmp_path / "exported", TORCH, None)
    registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com/disdel/"
    images = images_of(tmp_path / "exported", tmp_path)
    pushed = {f"{registry}{name}:{disdel.__version__}": image for name, image in images.items()}
    with lambda_emulator(images=pushed) as emulator:
        ended = disdel.train(
            "digits",
            epochs=1,
            workers=1,
            runtime="torch",
            platform="lambda",
            platform_option=(
                f"endpoint={emulator.url}",
                f"role={ROLE}",
                f"image_prefix={registry}",
            ),
            run_dir=tmp_path / "runs",
        )
        assert emulator.left() == []
    report = ended.report
    assert (report.status, report.plan.runtime, report.totals.failed) == ("ok", "torch", 0)
    assert report.accuracy > 0.5
    # What its process held, as the library says that lies beside its code.
    assert all(activation.peak_mb > 100 for activation in report.activations)


@contextlib.contextmanager
def moto():
    """moto's server of AWS's APIs, with a role; what makes clients of boto3 for it."""
    server = python_of("object-stores").with_name("moto_server")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [str(server), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def configured():
        # Functions answer without a container.
        body = json.dumps({"lambda": {"use_docker": False}}).encode()
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{url}/moto-api/config", body, timeout=60)

    try:
        wait_until(configured)
        yield url
    finally:
        process.kill()
        process.wait()


def code(padding=0):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", "def main(args): return args")
        archive.writestr("padding", bytes(padding))
    return buffer.getvalue()


def test_functions_are_made_changed_and_removed_as_awss_apis_have_it():
    boto3 = pytest.importorskip("boto3")
    with moto() as url:

        def aws(service):
            keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
            return boto3.client(service, endpoint_url=url, region_name="us-east-1", **keys)

        iam = aws("iam")
        trusted = json.dumps({"Version": "2012-10-17", "Statement": []})
        role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=trusted)["Role"]["Arn"]
        aws("s3").create_bucket(Bucket="code")
        functions, logs, objects = aws("lambda"), aws("logs"), aws("s3")

        def stored():
            listed = objects.list_objects_v2(Bucket="code")
            return [entry["Key"] for entry in listed.get("Contents", ())]

        async def use():
            registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com/disdel/"
            platform = Lambda(
                LambdaOptions(role=role, endpoint=url, bucket="code", image_prefix=registry)
            )

            def spec(**changes):
                own = {"name": "act", "kind": "python:3.11", "memory_mb": 128, "timeout_s": 2.5}
                return ActionSpec(**{"code": code(), **own, **changes})

            try:
                assert (await platform.capacity()).concurrency == 1000
                for package in ("p", "p-2"):
                    await platform.create_package(package, {})
                    await platform.create_action(package, spec())
                await platform.create_action("p", spec(memory_mb=256))
                made = functions.get_function(FunctionName="p-act")["Configuration"]
                assert (made["MemorySize"], made["Timeout"]) == (256, 3)
                assert (made["Runtime"], made["Role"]) == ("python3.11", role)
                await platform.create_action("p", spec(name="large", code=code(ZIP_BYTES)))
                assert stored() == ["disdel/p/p-large.zip"]
                record = await platform.invoke("p", "act", {"n": 1})
                assert record.result == {"n": 1}
                of_image = {"name": "of-image", "kind": None, "image": "disdel/runtime-torch:1"}
                for memory_mb in (512, 768):
                    await platform.create_action("p", spec(**of_image, memory_mb=memory_mb))
                made = functions.get_function(FunctionName="p-of-image")
                assert made["Code"]["ImageUri"] == f"{registry}runtime-torch:1"
                made = made["Configuration"]
                assert (made["PackageType"], made["MemorySize"]) == ("Image", 768)
                logs.create_log_group(logGroupName="/aws/lambda/p-act")
                await platform.remove_package("p")
                await platform.remove_package("p")
                left = [entry["FunctionName"] for entry in functions.list_functions()["Functions"]]
                assert left == ["p-2-act"]
                assert not stored()
                assert not logs.describe_log_groups()["logGroups"]
            finally:
                await platform.close()

        asyncio.run(use())


def test_boto3_that_is_missing_is_asked_for(tmp_path):
    (tmp_path / "boto3.py").write_text("raise ImportError('No module named boto3')")
    told = "from disdel.__main__ import main; import sys; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", told, "doctor", "--platform", "lambda"],
        env={"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pip install 'disdel[lambda]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.framework
@pytest.mark.skipif(OWN_KIND != "python:3.11", reason="the emulator has this machine's Python")
def test_doctor_asks_a_container_that_needs_no_image(compiled_state_dir, monkeypatch):
    monkeypatch.setenv("DISDEL_STATE_DIR", str(compiled_state_dir))
    with lambda_emulator() as emulator:
        options = (f"endpoint={emulator.url}", f"role={ROLE}")
        settings = Settings(platform="lambda", platform_options=options)
        checks = {check.name: check for check in run_checks(settings)}
        assert emulator.left() == []
    assert checks["platform"].ok
    assert checks["python:3.11"].ok, checks["python:3.11"].detail
    assert "reaches the store" in checks["python:3.11"].detail


def test_what_needs_an_image_is_refused_before_anything_runs():
    settings = Settings(platform="lambda", platform_options=("region=us-east-1",))
    told = r"torch needs an image.*--runtime compiled, or say .*image_prefix"
    with pytest.raises(UsageError, match=told):
        run_plan(TrainJob(dataset="digits", runtime="torch"), settings)
    assert run_plan(TrainJob(dataset="digits"), settings).plan.runtime == "compiled"

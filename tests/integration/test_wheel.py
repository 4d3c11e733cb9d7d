"""A wheel works without the checkout: actions and proxy are in it."""

import json
import os
import subprocess
import sys
import zipfile

import pytest


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, "."],
        check=True,
        capture_output=True,
    )
    [built] = folder.glob("*.whl")
    return built


def test_it_holds_actions_and_proxy_and_no_leftovers(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for name in (
        "disdel/_actions/train/__main__.py",
        "disdel/_actions/collectWeights/__main__.py",
        "disdel/_actions/evaluate/__main__.py",
        "openwhisk_local/_runtime_image/proxy.py",
        "openwhisk_local/_runtime_image/proxy_runner.py",
        "disdel/report/report.html.j2",
        "disdel/py.typed",
    ):
        assert name in names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


@pytest.mark.framework
def test_it_trains_without_the_checkout(wheel, tmp_path):
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", installed, wheel], check=True, capture_output=True)
    code = f"""
import disdel
from disdel.host.assets import actions_dir
assert disdel.__file__.startswith({str(installed)!r}), disdel.__file__
assert str(actions_dir()).startswith({str(installed)!r})
trained = disdel.train("digits", epochs=1, workers=1)
import json
print(json.dumps([trained.report.status, trained.report.totals.failed]))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["ok", 0]

"""The patches on upstream checkouts, which the environment names; they are no part of this tree.

DISDEL_UPSTREAM_RUNTIME_DOCKER   a checkout of apache/openwhisk-runtime-docker
DISDEL_UPSTREAM_RUNTIME_PYTHON   a checkout of apache/openwhisk-runtime-python
DISDEL_UPSTREAM_INTERPRETER      Python 3.10 or later with flask and gevent, for the first
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PATCHES = Path("openwhisk-patches").resolve()
CHECKOUTS = {
    "docker": ("DISDEL_UPSTREAM_RUNTIME_DOCKER", "core/actionProxy/actionproxy.py"),
    "python": ("DISDEL_UPSTREAM_RUNTIME_PYTHON", "core/python3Action/lib/launcher.py"),
}


def apply(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PATCHES / "apply"), *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(params=CHECKOUTS)
def upstream(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The word for `apply`, and a copy of the upstream folder that it touches."""
    setting, file = CHECKOUTS[request.param]
    checkout = os.environ.get(setting)
    if not checkout:
        pytest.skip(f"{setting} names no upstream checkout")
    copy = tmp_path / "checkout"
    commit = re.search(r"^Applies to \S+ (\w{40})\.$", patch_of(request.param), re.MULTILINE)
    assert commit
    folder = str(Path(file).parent)
    archive = subprocess.run(
        ["git", "-C", checkout, "archive", commit[1], folder], capture_output=True, check=True
    )
    copy.mkdir()
    subprocess.run(["tar", "-x", "-C", str(copy)], input=archive.stdout, check=True)
    return request.param, copy


def patch_of(which: str) -> str:
    [path] = PATCHES.glob(f"*-{which}-*.patch")
    return path.read_text()


def test_applied_checked_and_checked_again(upstream: tuple[str, Path]) -> None:
    which, checkout = upstream
    interpreter = sys.executable
    if which == "docker":
        setting = "DISDEL_UPSTREAM_INTERPRETER"
        interpreter = os.environ.get(setting) or pytest.skip(f"{setting} names no interpreter")
    for said in ("patched ", "is patched already"):
        done = apply(which, checkout, "--python", interpreter)
        assert done.returncode == 0, done.stdout + done.stderr
        assert said in done.stdout
        assert re.search(r"(\d+) of \1 checks passed", done.stdout)


def test_another_version_of_the_file_is_left_alone(upstream: tuple[str, Path]) -> None:
    which, checkout = upstream
    file = checkout / CHECKOUTS[which][1]
    changed = "# changed\n" + file.read_text()
    file.write_text(changed)
    done = apply(which, checkout)
    assert done.returncode == 1
    assert "is not that of apache/openwhisk-runtime-" in done.stderr
    assert file.read_text() == changed


@pytest.mark.parametrize("which", CHECKOUTS)
def test_a_patch_carries_the_touched_lines_only(which: str) -> None:
    text = patch_of(which)
    diff = text[text.index("diff --git") :].splitlines()
    assert all(line.startswith(("diff", "index", "---", "+++", "@@", "-", "+")) for line in diff)
    removed = [line for line in diff if line.startswith("-") and not line.startswith("---")]
    assert len(removed) <= 2
    hunks = [line for line in diff if line.startswith("@@")]
    assert all(re.fullmatch(r"@@ -\d+(,\d+)? \+\d+(,\d+)? @@", hunk) for hunk in hunks)


def test_another_repository_is_no_checkout(tmp_path: Path) -> None:
    done = apply("docker", tmp_path)
    assert done.returncode == 1
    assert "has no core/actionProxy/actionproxy.py" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["docker"], ["rust", "."], ["docker", ".", "--odd"]])
def test_wrong_usage(arguments: list[str]) -> None:
    done = apply(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_the_module_for_stock_proxies_needs_nothing_else(tmp_path: Path) -> None:
    for module in (
        "openwhisk-patches/disdel_memory.py",
        "openwhisk_local/machine/container_memory.py",
        "disdel/memory_agent/memory_warning.py",
    ):
        shutil.copy(module, tmp_path)
    code = (
        "import sys; sys.path.insert(0, '.'); import disdel_memory\n"
        "class Runner:\n"
        "    def env(self, message): return message\n"
        "    def run(self, value, env): return 200, [value, env]\n"
        "status, result, headers = disdel_memory.run(Runner(), {'a': 1}, {'b': '2'})\n"
        "assert (status, result) == (200, [{'a': 1}, {'b': '2'}])\n"
        "print(*headers)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd=tmp_path,
        env={"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["X-Disdel-Peak-Memory-Bytes"]

"""The image without a container engine: its parts fit together, and its smoke test passes."""

from __future__ import annotations

import ast
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import disdel
from disdel.bundle import build_bundle

IMAGE = Path("runtime-image").resolve()
ROOT = IMAGE.parent
DOCKERFILE = (IMAGE / "Dockerfile").read_text()
FRAMEWORKS = ("tensorflow", "torch", "none")


def requirements(name: str) -> list[str]:
    """The lines of a requirement file and of those that it includes."""
    lines = []
    for line in (IMAGE / "requirements" / f"{name}.txt").read_text().splitlines():
        if line.startswith("-r "):
            lines += requirements(line.removeprefix("-r ").removesuffix(".txt"))
        elif line and not line.startswith("#"):
            lines.append(line)
    return lines


def test_the_proxy_passes_the_smoke_test() -> None:
    done = subprocess.run(
        [sys.executable, str(IMAGE / "smoke_test.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 of 9 checks passed" in done.stdout


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        ("print('XXX')", "Each stream has the action's lines"),
        ("ALREADY_INITIALIZED = 'no'", "A second /init is refused"),
        ("MemoryMonitor.use = lambda self: MemoryUse(1, 1, None)", "The monitor knows the limit"),
    ],
)
def test_the_smoke_test_finds_faults(tmp_path: Path, fault: str, failed: str) -> None:
    for source in ("runtime-image/proxy.py", "disdel/container_memory.py"):
        shutil.copy(ROOT / source, tmp_path)
    proxy = tmp_path / "proxy.py"
    source = proxy.read_text().replace('SENTINEL = "XXX_THE', 'SENTINEL = "THE', "print" in fault)
    proxy.write_text(source.replace("\n\ndef main()", f"\n\n{fault}\n\ndef main()"))
    done = subprocess.run(
        [
            *(sys.executable, str(IMAGE / "smoke_test.py"), "--"),
            *(sys.executable, str(proxy), "--port", "{port}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(f"^FAILED  {re.escape(failed)}", done.stdout, re.MULTILINE)
    assert "8 of 9 checks passed" in done.stdout


def test_everything_that_is_copied_exists_and_reaches_the_build() -> None:
    allowed = [
        line.removeprefix("!")
        for line in (IMAGE / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert sorted(sources) == sorted(allowed)
    for source in sources:
        assert (ROOT / source).exists(), source


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_requirements_are_pinned_and_name_no_index(framework: str) -> None:
    pins = {
        re.split("==", line)[0].replace("_", "-").lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    for line in requirements(framework):
        assert "://" not in line
        assert not line.startswith("-")
        name = re.split("[=; ]", line)[0]
        assert "==" in line or name in pins, f"{name} has no version"
    assert f"FROM runtime AS runtime-{framework}\n" in DOCKERFILE


def test_what_the_actions_import_is_in_every_image() -> None:
    imported = set()
    for action in ("train", "collectWeights", "evaluate"):
        with zipfile.ZipFile(io.BytesIO(build_bundle(action))) as bundle:
            for name in bundle.namelist():
                for node in ast.parse(bundle.read(name)).body:
                    if isinstance(node, ast.Import):
                        imported |= {alias.name.split(".")[0] for alias in node.names}
                    elif isinstance(node, ast.ImportFrom):
                        imported.add((node.module or "").split(".")[0])
    foreign = imported - sys.stdlib_module_names - {"disdel"}
    # What is a framework's own is imported where that framework is at work.
    assert foreign <= {*requirements("none"), "iree", "keras", "tensorflow", "torch"}


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A container engine that records its calls, and runs the proxy of this checkout as image."""
    shutil.copytree(ROOT / "runtime-image", tmp_path / "proxy", ignore=lambda *_: ["requirements"])
    for module in ("container_memory.py", "memory_agent/memory_warning.py"):
        shutil.copy(ROOT / "disdel" / module, tmp_path / "proxy")
    script = tmp_path / "docker"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/calls\n'
        'case "$1" in\n'
        "run) port=${4#127.0.0.1:}; port=${port%:8080}\n"
        f"     exec {sys.executable} {tmp_path}/proxy/proxy.py --port $port ;;\n"
        "image) echo 123456789 ;;\n"
        "esac\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def build(engine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(IMAGE / "build"), *arguments],
        env={**os.environ, "PATH": f"{engine}:{os.environ['PATH']}", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


def test_build_checks_the_image_and_prints_its_size(engine: Path) -> None:
    done = build(engine, "none", "--build-arg", "PIP_INDEX_URL=https://index", "--push")
    image = f"disdel/runtime-base:{disdel.__version__}"
    calls = (engine / "calls").read_text().splitlines()
    assert calls[0] == (
        f"build --file {IMAGE}/Dockerfile --tag {image} --build-arg FRAMEWORK=none "
        f"--build-arg PIP_INDEX_URL=https://index {ROOT}"
    )
    runs = [call for call in calls if call.startswith("run ")]
    assert len(runs) == 10
    for run in runs:
        assert re.fullmatch(
            r"run --rm --publish 127\.0\.0\.1:\d+:8080 --memory 256m --memory-swap 256m "
            r"--cap-drop NET_RAW --cap-drop NET_ADMIN --ulimit nofile=1024:1024 "
            rf"--pids-limit 1024 {re.escape(image)}",
            run,
        )
    # Whoever runs the tests may be root and have a compiler, which the image must not.
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed in ([], ["FAILED  The action is not root, finds its packages, and no compiler."])
    if not failed:
        assert f"{image}: 117 MB" in done.stdout
        assert calls[-1] == f"push {image}"
    else:
        assert done.returncode == 1
        assert not any(call.startswith("push") for call in calls)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [(["--help"], 0, "usage: "), (["rust"], 2, "usage: "), (["--tag"], 1, "--tag needs a value")],
)
def test_usage(engine: Path, arguments: list[str], status: int, said: str) -> None:
    done = build(engine, *arguments)
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert not (engine / "calls").exists()

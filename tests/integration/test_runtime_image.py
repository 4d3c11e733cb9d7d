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
from disdel.controller.invoking.bundle import build_bundle
from openwhisk_local.proxies import proxy_files

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
        ("proxy_runner.ALREADY_INITIALIZED = 'no'", "A second /init is refused"),
        (
            "memory.MemoryMonitor.use = lambda self: memory.MemoryUse(1, 1, None)",
            "The monitor knows the limit",
        ),
    ],
)
def test_the_smoke_test_finds_faults(tmp_path: Path, fault: str, failed: str) -> None:
    for module in proxy_files():
        shutil.copy(module, tmp_path)
    if "print" in fault:
        runner = tmp_path / "proxy_runner.py"
        runner.write_text(runner.read_text().replace('SENTINEL = "XXX_THE', 'SENTINEL = "THE'))
    proxy = tmp_path / "proxy.py"
    faulty = f"import container_memory as memory, proxy_runner\n{fault}"
    source = proxy.read_text()
    proxy.write_text(source.replace("\n\ndef main()", f"\n\n{faulty}\n\ndef main()"))
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


@pytest.mark.parametrize("folder", ["runtime-image", "openwhisk-patches/kubernetes"])
def test_everything_that_is_copied_exists_and_reaches_the_build(folder: str) -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    dockerfile = (ROOT / folder / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert {source, source.split("/")[0]} & allowed, source


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
    foreign = imported - sys.stdlib_module_names - {"disdel", "openwhisk_local"}
    # What is a framework's own is imported where that framework is at work.
    assert foreign <= {*requirements("none"), "iree", "keras", "tensorflow", "torch"}


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A container engine that records its calls, and runs the proxy of this checkout as image."""
    shutil.copytree(ROOT / "runtime-image", tmp_path / "proxy", ignore=lambda *_: ["requirements"])
    for module in (
        "openwhisk_local/machine/container_memory.py",
        "disdel/memory_agent/memory_warning.py",
    ):
        shutil.copy(ROOT / module, tmp_path / "proxy")
    script = tmp_path / "docker"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/calls\n'
        'case "$1" in\n'
        "run) port=${4##*-}\n"
        f"     exec {sys.executable} {tmp_path}/proxy/proxy.py --port $port ;;\n"
        "image) echo 123456789 ;;\n"
        "esac\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "passed"),
    [
        (["--build-arg", "PIP_EXTRA_INDEX_URL=u"], "--build-arg PIP_EXTRA_INDEX_URL=u"),
        (["--cuda"], "--build-arg REQUIREMENTS=torch-cuda"),
    ],
)
def test_torch_is_for_cpus_or_with_cuda(engine: Path, options: list[str], passed: str) -> None:
    (engine / "docker").write_text(f'#!/bin/sh\necho "$@" >> {engine}/calls\nexit 3\n')
    assert build(engine, "torch", *options).returncode == 3
    [call] = (engine / "calls").read_text().splitlines()
    assert passed in call


def test_a_container_that_ends_by_itself_says_why_and_is_the_last(tmp_path: Path) -> None:
    left = tmp_path / "left"
    done = smoke_test(
        "--clean-up",
        f"sh -c 'echo {{port}} >> {left}'",
        "--",
        *("sh", "-c", "echo no such image >&2; exit 137"),
    )
    assert done.returncode == 1
    assert "it ended by itself, exit status 137: killed, as for more memory" in done.stdout
    assert "stderr: no such image" in done.stdout
    assert "0 of 9 checks passed" in done.stdout
    assert done.stderr == ""
    assert len(left.read_text().splitlines()) == 1


def test_what_does_not_end_is_told_and_cleaned_up(tmp_path: Path) -> None:
    script = tmp_path / "smoke_test.py"
    source = (IMAGE / "smoke_test.py").read_text()
    pid = tmp_path / "pid"
    # Its time is up when it has said that it runs.
    told = f"os.path.exists({str(pid)!r}) and os.path.getsize({str(pid)!r})"
    source = source.replace(
        "        end = time.monotonic() + START_DEADLINE_S\n",
        f"        while not ({told}): time.sleep(0.01)\n        end = time.monotonic()\n",
    )
    script.write_text(source.replace("END_TIMEOUT_S = 30.0", "END_TIMEOUT_S = 0.1"))
    stubborn = f"trap '' TERM; echo $$ > {pid}; exec sleep 999"
    done = smoke_test("--", "sh", "-c", stubborn, script=script)
    assert done.returncode == 1
    assert "0 of 9 checks passed" in done.stdout
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def smoke_test(
    *arguments: str, script: Path = IMAGE / "smoke_test.py"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False
    )


def build(engine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(IMAGE / "build"), *arguments],
        env={
            **os.environ,
            "ENGINE": "",
            "PATH": f"{engine}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_build_checks_the_image_and_prints_its_size(engine: Path) -> None:
    certificate = engine / "ca.pem"
    certificate.write_text("-----BEGIN")
    options = ["--build-arg", "PIP_INDEX_URL=https://index", "--ca", str(certificate)]
    options += ["--build-option", "--network=host", "--run-option", "--userns=host"]
    done = build(engine, "none", *options, "--push")
    image = f"disdel/runtime-base:{disdel.__version__}"
    calls = (engine / "calls").read_text().splitlines()
    assert calls[0] == (
        f"build --file {IMAGE}/Dockerfile --tag {image} --build-arg FRAMEWORK=none "
        "--build-arg PIP_INDEX_URL=https://index --build-arg CA=-----BEGIN --network=host "
        f"{ROOT}"
    )
    runs = [call for call in calls if call.startswith("run ")]
    assert len(runs) == 10
    for run in runs:
        assert re.fullmatch(
            r"run --rm --name (disdel-check-\d+-(\d+)) --publish 127\.0\.0\.1:\2:8080 "
            r"--memory 256m --memory-swap 256m "
            r"--cap-drop NET_RAW --cap-drop NET_ADMIN --ulimit nofile=1024:1024 "
            rf"--pids-limit 1024 --userns=host {re.escape(image)}",
            run,
        )
    removed = [call.split()[2] for call in calls if call.startswith("rm --force ")]
    assert removed == [run.split()[3] for run in runs]
    # Whoever runs the tests may be root and have a compiler, which the image must not.
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed in ([], ["FAILED  The action is not root, finds its packages, and no compiler."])
    if not failed:
        assert f"{image}: 117 MiB" in done.stdout
        assert calls[-1] == f"push {image}"
    else:
        assert done.returncode == 1
        assert not any(call.startswith("push") for call in calls)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "usage: "),
        (["rust"], 2, "usage: "),
        (["--tag"], 1, "--tag needs a value"),
        (["torch"], 2, "PyTorch's wheels for CPUs are not on pip's default index: name one"),
        (["none", "--cuda"], 2, "--cuda is for torch"),
        (["none", "--ca", "/nowhere.pem"], 2, "/nowhere.pem cannot be read"),
    ],
)
def test_usage(engine: Path, arguments: list[str], status: int, said: str) -> None:
    done = build(engine, *arguments)
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert not (engine / "calls").exists()

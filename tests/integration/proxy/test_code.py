"""The code of an action: text or a zip, what it brings along, and what is imported before it."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest

from tests.support.action_proxy import SENTINEL, proxy


def archive(**files: str) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name.replace("__slash__", "/") + ".py", text)
    return base64.b64encode(buffer.getvalue()).decode()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, data in files.items():
            bundle.writestr(name, data)
    return buffer.getvalue()


def bundle_with_requirements(requirements: str) -> str:
    """An action that imports `tiny`, beside a wheel of it."""
    wheel = zipped(
        {
            "tiny.py": b"ANSWER = 42",
            "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
            "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
            b"Tag: py3-none-any\n",
            "tiny-1.0.dist-info/RECORD": b"tiny.py,,\n",
        }
    )
    data = zipped(
        {
            "__main__.py": b"import tiny\ndef main(args): return {'answer': tiny.ANSWER}",
            "requirements.txt": requirements.encode(),
            "tiny-1.0-py3-none-any.whl": wheel,
        }
    )
    return base64.b64encode(data).decode()


def test_another_entry_function(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        action.init("def go(args): return {'went': True}", main="go")
        assert action.run().json() == {"went": True}


def test_a_zip_with_modules_and_data(tmp_path: Path) -> None:
    code = archive(
        __main__="import helper\ndef main(args): return helper.answer()",
        helper="def answer():\n    return {'data': len(open('data__.py').read())}",
        data__="12345",
    )
    with proxy(tmp_path) as action:
        assert action.init(code, binary=True).status_code == 200
        assert action.run().json() == {"data": 5}


def test_nothing_is_written_for_a_next_import(tmp_path: Path) -> None:
    """A container imports its action once, and another one has a folder of its own."""
    code = archive(
        __main__="import glob, helper\ndef main(args):\n"
        "    return {'found': sorted(glob.glob('**/*', recursive=True))}",
        helper="",
    )
    with proxy(tmp_path) as action:
        assert action.init(code, binary=True).status_code == 200
        assert action.run().json() == {"found": ["helper.py", "main__.py"]}


def test_large_files_of_a_zip_arrive_whole_beside_small_ones(tmp_path: Path) -> None:
    main = (
        "import hashlib, pathlib\n"
        "def main(args):\n"
        "    files = pathlib.Path('libs').rglob('*.so')\n"
        "    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}\n"
    )
    libraries = {f"libs/{n}/{n}.so": os.urandom(3 << 20 if n % 2 else 100) for n in range(6)}
    code = base64.b64encode(zipped({"__main__.py": main.encode(), **libraries})).decode()
    with proxy(tmp_path) as running:
        assert running.init(code, binary=True).status_code == 200
        assert running.run().json() == {
            Path(name).name: hashlib.sha256(data).hexdigest() for name, data in libraries.items()
        }


def test_requirements_are_installed_at_init(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        code = bundle_with_requirements("./tiny-1.0-py3-none-any.whl")
        assert action.init(code, binary=True).status_code == 200
        assert action.run().json() == {"answer": 42}


def test_requirements_that_cannot_be_installed_fail_the_init(tmp_path: Path) -> None:
    with proxy(tmp_path) as action:
        reply = action.init(bundle_with_requirements("./other.whl"), binary=True)
        assert reply.status_code == 502
        assert "See logs for details" in reply.json()["error"]
        _, err = action.end()
    assert "other.whl" in err


@pytest.mark.parametrize(
    ("code", "binary", "status", "error"),
    [
        ("def main(", False, 502, "The action failed to generate or locate a binary. See logs"),
        ("import nowhere", False, 502, "Cannot start action. Check logs for details."),
        ("import sys; sys.exit(0)", False, 502, "Cannot start action. Check logs for details."),
        ("x = 1", False, 502, "Cannot start action. Check logs for details."),
        ("ab=c", True, 400, "cannot decode the request: "),
        (
            base64.b64encode(b"no zip").decode(),
            True,
            502,
            "The action failed to generate or locate a binary. See logs for details.",
        ),
        (
            archive(other="x = 1"),
            True,
            502,
            "The action failed to generate or locate a binary. See logs for details.",
        ),
    ],
)
def test_failed_init(tmp_path: Path, code: str, binary: bool, status: int, error: str) -> None:
    with proxy(tmp_path) as action:
        reply = action.init(code, binary=binary)
        assert reply.status_code == status
        assert reply.json()["error"].startswith(error)
        out, err = action.end()
    assert out == f"{SENTINEL}\n"
    assert err.endswith(f"{SENTINEL}\n")


def test_preimport_happens_before_the_first_request(tmp_path: Path) -> None:
    code = "import sys\nTHERE = 'wave' in sys.modules\ndef main(args): return {'there': THERE}"
    with proxy(tmp_path, DISDEL_PREIMPORT="wave,not_installed_anywhere") as action:
        action.init(code)
        assert action.run().json() == {"there": True}


def test_preimport_goes_without_what_is_not_wanted_and_the_action_does_not(tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(
        "try:\n    import wave\nexcept ImportError:\n    wave = None\n"
    )
    code = (
        "import greedy\nimport wave\n"
        "def main(args): return {'taken': greedy.wave is not None, 'there': wave is not None}"
    )
    with proxy(
        tmp_path,
        PYTHONPATH=str(tmp_path),
        DISDEL_PREIMPORT="greedy",
        DISDEL_PREIMPORT_WITHOUT="wave",
    ) as action:
        action.init(code)
        assert action.run().json() == {"taken": False, "there": True}


def test_preimport_says_nothing_in_an_action_s_log_unless_it_fails(tmp_path: Path) -> None:
    noise = "import os\nprint('noise')\nos.system('echo noise from C >&2')\n"
    (tmp_path / "noisy.py").write_text(noise)
    (tmp_path / "broken.py").write_text(noise + "raise ImportError('no such library')\n")
    for module, said in (("noisy", False), ("broken", True)):
        with proxy(tmp_path, PYTHONPATH=str(tmp_path), DISDEL_PREIMPORT=module) as action:
            action.init("def main(args):\n    print('mine')\n    return {}")
            action.run()
            out, err = action.end()
        assert out.splitlines() == ["mine", SENTINEL]
        assert ("noise from C" in err) is said
        assert ("no such library" in err) is said

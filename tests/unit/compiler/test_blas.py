import importlib.metadata
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from disdel.compiler.blas import without_blas

LAPACK = "numpy/linalg/lapack_lite"
BIND_NOW = struct.pack("<qQ", 24, 0)
END = struct.pack("<qQ", 0, 0)


@pytest.fixture(scope="module")
def numpy_files():
    files = importlib.metadata.distribution("numpy").files
    kept = [file for file in files if file.suffix == ".py" or ".so" in file.name]
    found = {file.as_posix(): Path(file.locate()).read_bytes() for file in kept}
    if not any(path.startswith("numpy.libs/") for path in found):
        pytest.skip("this numpy has not the BLAS of the wheels on PyPI for Linux")
    return found


@pytest.fixture(scope="module")
def lean(numpy_files, tmp_path_factory):
    """Runs Python with the lean numpy alone."""
    folder = tmp_path_factory.mktemp("lean")
    for path, data in without_blas(numpy_files).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)

    def run(code):
        return subprocess.run(
            [sys.executable, "-S", "-c", code],
            cwd=folder,
            env={"PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_arrays_and_random_numbers_need_no_blas(lean):
    done = lean(
        "import numpy as np; r = np.random.default_rng(0).normal(size=1000);"
        "print(np.__file__, np.mean(r, axis=0, dtype=np.float64) == r.sum() / 1000)"
    )
    path, same = done.stdout.split()
    assert same == "True"
    assert not list(Path(path).parents[1].glob("numpy.libs"))


def test_a_product_of_matrices_ends_with_the_name_of_what_is_missing(lean):
    done = lean("import numpy as np; np.ones((2, 2)) @ np.ones((2, 2))")
    assert done.returncode != 0
    assert "undefined symbol" in done.stderr
    assert "gemm" in done.stderr


def test_it_is_half_as_large(numpy_files):
    def size(files):
        return sum(map(len, files.values()))

    assert size(without_blas(numpy_files)) < 0.6 * size(numpy_files)


def test_a_numpy_that_is_built_in_another_way_stays_as_it_is(numpy_files):
    without_libraries = {
        path: data for path, data in numpy_files.items() if not path.startswith("numpy.libs/")
    }
    assert without_blas(without_libraries) == without_libraries
    init = numpy_files["numpy/__init__.py"].replace(b"    _sanity_check()", b"    _check_blas()")
    unknown = numpy_files | {"numpy/__init__.py": init}
    assert without_blas(unknown) == unknown


def test_a_numpy_that_looks_for_its_blas_at_once_keeps_it(numpy_files):
    [path] = [path for path in numpy_files if path.startswith(LAPACK)]
    data = numpy_files[path]
    # The table of dynamic entries ends with several that are empty.
    end = _dynamic_start(data)
    while data[end : end + len(END)] != END:
        end += len(END)
    assert data[end + len(END) :].startswith(END)
    eager = numpy_files | {path: data[:end] + BIND_NOW + data[end + len(BIND_NOW) :]}
    assert without_blas(eager) == eager


def _dynamic_start(module):
    (first,) = struct.unpack_from("<Q", module, 32)
    (count,) = struct.unpack_from("<H", module, 56)
    headers = [struct.unpack_from("<IIQ", module, first + 56 * i) for i in range(count)]
    return next(offset for kind, _, offset in headers if kind == 2)

"""The user's own code: found, collected, imported and called."""

import importlib
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from disdel.controller.invoking.bundle import build_bundle
from disdel.errors import UsageError
from disdel.user_code.collecting import FOLDER, collect, is_entry, read_code
from disdel.user_code.module import UserModule


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files into the working directory; what is imported from them is forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)

    def write(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            if path.parent != tmp_path:
                (path.parent / "__init__.py").touch()
        return tmp_path

    yield write
    for name in set(sys.modules) - known:
        del sys.modules[name]


def load(entry):
    code = collect(entry)
    return UserModule(code.ref, code.folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("net.py:make", True),
        ("some/where/my-net.py:make", True),
        ("package.module:make", True),
        ("module:make", True),
        ("mnist", False),
        ("mnist:3.0.1", False),
        ("cifar10/config:1.0.0", False),
        ("net.py", True),
        ("net.py:", True),
    ],
)
def test_an_entry_is_told_from_a_name(text, expected):
    assert is_entry(text) is expected


@pytest.mark.parametrize("entry", ["net.py", "net.py:", "net.py:make()", "net.py:2"])
def test_a_file_without_a_function_is_told_which_it_has(tmp_path, monkeypatch, entry):
    monkeypatch.chdir(tmp_path)
    source = "1 / 0  # It is not run.\ndef _own(): ...\ndef make(): ...\nclass Net: ...\n"
    Path("net.py").write_text(source)
    with pytest.raises(UsageError, match=r"name one as net\.py:make; net\.py has make, Net"):
        collect(entry)
    Path("net.py").write_text("")
    with pytest.raises(UsageError, match=r"net\.py has none"):
        collect(entry)
    Path("net.py").unlink()
    with pytest.raises(UsageError, match=r"there is no file net\.py"):
        collect(entry)


def test_a_file_comes_with_what_it_leads_to_in_its_folder(write):
    write(
        net="import numpy\nfrom parts import a\nfrom kit.deep import b\n",
        parts="def a():\n    import more\n",
        more="",
        kit__deep="",
        unrelated="raise RuntimeError",
    )
    files = collect("net.py:make").files
    assert sorted(files) == ["kit/__init__.py", "kit/deep.py", "more.py", "net.py", "parts.py"]


@pytest.mark.parametrize(
    ("opens", "travels"),
    [
        ("open('words.txt')", ["words.txt"]),
        ("open('./words.txt')", ["words.txt"]),
        ("HERE.parent / 'tables' / 'a.npy'", ["tables/a.npy", "tables/deep/b.npy"]),
        ("os.path.join('tables', 'a.npy')", ["tables/a.npy", "tables/deep/b.npy"]),
        ("open('tables/a.npy')", ["tables/a.npy"]),
        ("open(f'{name}.txt')", ["words.txt"]),
        ("open('%s.txt' % name)", ["words.txt"]),
        ("open('{}/{:02}.npy'.format(a, b))", ["tables/a.npy"]),
        ("glob('*.txt')", ["words.txt"]),
        (r"'nowhere', '.', '*', '', '/', '\0', '[', '**', '../x', 'venv', '.git', '.txt\n'", []),
    ],
)
def test_files_that_the_code_names_travel_with_it(write, opens, travels):
    folder = write(net=opens)
    for name in ("tables/deep", "venv", ".git"):
        (folder / name).mkdir(parents=True)
    for name in (
        "words.txt",
        "unnamed.bin",
        "tables/a.npy",
        "tables/deep/b.npy",
        "venv/pyvenv.cfg",
    ):
        (folder / name).write_text(name)
    (folder / ".git" / "words.txt").touch()
    (folder / "tables" / ".hidden").touch()
    code = collect("net.py:make")
    assert sorted(code.files) == sorted(["net.py", *travels])
    assert code.left_out == ()
    if travels:
        (folder / travels[0]).write_text("changed")
        assert collect("net.py:make").ref.digest != code.ref.digest


def test_what_is_large_stays_and_is_told(write):
    folder = write(net="'large.npy', 'set', 'many', 'small.txt'")
    (folder / "large.npy").write_bytes(bytes(5 << 20))
    for name in ("set", "many"):
        (folder / name).mkdir()
    (folder / "set" / "large.npy").write_bytes(bytes(5 << 20))
    (folder / "set" / "small.txt").touch()
    for n in range(1001):
        (folder / "many" / f"{n}.png").touch()
    code = collect("net.py:make")
    assert sorted(code.files) == ["net.py", "set/small.txt"]
    assert [sentence.partition(")")[0] for sentence in code.left_out] == [
        "large.npy (5.0 MB",
        "many (more than 1,000 files",
        "set (5.0 MB",
    ]
    assert "files_beside = [...] in net.py" in code.left_out[0]


def test_of_much_that_is_named_the_largest_stays(write):
    folder = write(net="'a.npy', 'b.npy', 'c.npy'")
    for name, size in (("a", 3), ("b", 4), ("c", 3)):
        (folder / f"{name}.npy").write_bytes(bytes(size << 20))
    code = collect("net.py:make")
    assert sorted(code.files) == ["a.npy", "c.npy", "net.py"]
    assert len(code.left_out) == 1


def test_the_code_may_list_what_travels(write):
    folder = write(net="files_beside = ['large.npy', 'set/*.txt']\nopen('named.txt')")
    (folder / "set").mkdir()
    (folder / "large.npy").write_bytes(bytes(9 << 20))
    for name in ("named.txt", "set/a.txt", "set/b.bin"):
        (folder / name).touch()
    assert sorted(collect("net.py:make").files) == ["large.npy", "net.py", "set/a.txt"]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("['../secret']", "leads out of the folder of the code"),
        ("['/etc/passwd']", "leads out of the folder of the code"),
        ("['nowhere*']", "names no file in"),
        ("[3]", "3 is no text"),
        ("name", "files_beside must be a list of names or patterns"),
        ("['large.npy']", r"its files are 33\.0 MB, and 32 MB can travel"),
    ],
)
def test_a_wrong_list_is_refused(write, listed, message):
    folder = write(net=f"files_beside = {listed}")
    with (folder / "large.npy").open("wb") as file:
        file.truncate(33 << 20)
    with pytest.raises(UsageError, match=message):
        collect("net.py:make")


def test_files_of_a_package_are_looked_for_in_its_folders(write):
    folder = write(
        kit__net="open('kit/a.txt'), Path(__file__).parent / 'b.txt'", kit__more="'c.txt'"
    )
    for name in ("kit/a.txt", "kit/b.txt", "kit/c.txt", "kit/d.txt"):
        (folder / name).touch()
    names = [name for name in collect("kit.net:make").files if name.endswith(".txt")]
    assert sorted(names) == ["kit/a.txt", "kit/b.txt", "kit/c.txt"]


def test_a_package_comes_whole(write):
    write(
        kit__net="from kit import util\ndef make():\n    return util.seven",
        kit__util="seven = 7",
    )
    assert sorted(collect("kit.net:make").files) == ["kit/__init__.py", "kit/net.py", "kit/util.py"]
    assert load("kit.net:make").call() == 7


def test_the_digest_is_of_what_travels(write):
    write(net="import parts", parts="a = 1", other="")
    first = collect("net.py:make").ref.digest
    write(other="changed")
    assert collect("net.py:make").ref.digest == first
    assert collect("net.py:other").ref.digest != first
    write(parts="a = 2")
    assert collect("net.py:make").ref.digest != first


def test_a_bundle_holds_the_files_as_they_are(write):
    import io
    import zipfile

    write(net="import parts", parts="a = 1")
    code = collect("net.py:make")
    with zipfile.ZipFile(io.BytesIO(build_bundle("train", code))) as bundle:
        assert bundle.read(f"{FOLDER}/parts.py") == b"a = 1"
        assert "disdel/user_code/collecting.py" in bundle.namelist()
    assert build_bundle("train", code) == build_bundle("train", collect("net.py:make"))


def test_code_that_was_laid_out_is_read_back(write, tmp_path):
    folder = write(kit__net="from kit import util\nopen('kit/words.txt')", kit__util="")
    (folder / "kit" / "words.txt").write_bytes(b"\0\xff")
    code = collect("kit.net:make")
    assert "kit/words.txt" in code.files
    code.write(tmp_path / "out")
    again = read_code(tmp_path / "out")
    assert (again.ref, dict(again.files)) == (code.ref, dict(code.files))
    assert read_code(tmp_path) is None


def test_a_function_is_given_what_it_has_parameters_for(write):
    write(
        net="""
def shape(input_shape): return input_shape
def both(classes, *, input_shape, width=3): return classes, input_shape, width
def none(): return "none"
def any(**kwargs): return kwargs
"""
    )
    offered = {"input_shape": (8, 8, 1), "classes": 10}
    assert load("net.py:shape").call(**offered) == (8, 8, 1)
    assert load("net.py:both").call(**offered) == (10, (8, 8, 1), 3)
    assert load("net.py:none").call(**offered) == "none"
    assert load("net.py:any").call(**offered) == {}


def test_a_file_may_have_any_name(write):
    path = write()
    (path / "types.py").write_text("def make():\n    import types\n    return types.ModuleType")
    (path / "my net-2.py").write_text("def make(): return 2")
    assert load("types.py:make").call() is type(sys)
    assert load("my net-2.py:make").call() == 2


@pytest.mark.parametrize(
    ("entry", "text", "message"),
    [
        ("nowhere.py:make", "", "there is no file nowhere.py"),
        ("nowhere.net:make", "", "there is no Python package or module 'nowhere' here"),
        ("net.py:make", "def make(:\n", r"net.py, line 1: invalid syntax"),
        ("net.py:make", "requirements = 'no-such-package'\n", "requires no-such-package, and"),
        ("net.py:make", "requirements = ['==1']\n", "line 1: requirements must be a list"),
        ("net.py:make", "requirements = [name]\n", "line 1: requirements must be a list"),
        ("net.py:make", "def maker(): pass\n", r"no function 'make' \(did you mean 'maker'\?\)"),
        ("net.py:make", "from os import path\n", "has no function 'make'; it has none"),
        ("net.py:make", "make = 7\n", "has an int called 'make', where a function"),
        ("net.py:make", "def make(width, classes): pass\n", "wants width, which nobody gives it"),
        (
            "net.py:make",
            "def make():\n    layers = 3\n    return layers.dense\n",
            r"net.py, line 3, `return layers.dense`: AttributeError: 'int' object has no",
        ),
        ("net.py:make", "1 / 0\n", r"net.py, line 1, `1 / 0`: ZeroDivisionError"),
        ("net.py:make", "def make():\n    raise SystemExit('no')\n", "line 2.*SystemExit: no"),
        (
            "net.py:make",
            "def make():\n    import no_such_package\n",
            "line 2, `import no_such_package`: this runtime lacks the package no_such_package; pip "
            "install 'no_such_package' here.*runtime-image/build",
        ),
        (
            "net.py:make",
            "def make():\n    import json.no_such_part\n",
            "line 2, `import json.no_such_part`: json.no_such_part is not in the json that this "
            "runtime has$",
        ),
        (
            "net.py:make",
            "requirements = ['no-such-package>=0.22']\nimport no_such_package\n",
            "net.py:make requires no-such-package>=0.22, and no-such-package is not installed",
        ),
        (
            "net.py:make",
            "requirements = ['numpy<1']\n",
            r"requires numpy<1, and numpy is there in version \d",
        ),
    ],
)
def test_what_is_wrong_with_it_is_said(write, entry, text, message):
    write(net=text)
    with pytest.raises(UsageError, match=message):
        load(entry).call(input_shape=(2,), classes=3)


def test_requirements_that_do_not_apply_here_are_not_asked_for(write):
    write(net="requirements = ('numpy', 'no-such-package; os_name == \"none\"')\ndef make(): pass")
    assert load("net.py:make").call() is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("os:getcwd", "os:getcwd is of Python's own library: write a function"),
        ("email.message:Message", "is of Python's own library"),
        ("numpy:array", "is of the library numpy, parts of which are no Python"),
    ],
)
def test_a_function_of_a_library_is_refused_at_once(entry, said, write):
    with pytest.raises(UsageError, match=said):
        collect(entry)


def test_an_imported_module_is_no_attribute(write):
    write(net="import json as metrics\nloss = 'mse'\ndef make(): pass")
    module = load("net.py:make")
    assert module.attribute("metrics") is None
    assert module.attribute("loss") == "mse"
    assert module.attribute("augment") is None


def test_what_lies_there_now_is_run(write, monkeypatch):
    # Bytecode goes by size and second, and a helper that was imported stays in `sys.modules`.
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    net = "import parts\nfrom kit import deep\ndef make(): return parts.a, deep.b, {}"
    for n in (1, 2):
        folder = write(net=net.format(n), parts=f"a = {n}", kit__deep=f"b = {n}")
        for file in folder.rglob("*.py"):
            os.utime(file, (0, 0))
        assert load("net.py:make").call() == (n, n, n)
    assert not list(folder.rglob("*.pyc"))


def test_helpers_of_two_folders_do_not_mix(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "mine")])
    for name in ("one", "two", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "helper.py").write_text(f"name = {name!r}")
        (tmp_path / name / "net.py").write_text(
            "import helper\ndef make():\n    import helper as late\n"
            "    return helper.name, late.name"
        )
    (tmp_path / "one" / "only_one.py").write_text("")
    (tmp_path / "two" / "net2.py").write_text("import only_one\n")
    mine = importlib.import_module("helper")
    one, two = load(f"{tmp_path}/one/net.py:make"), load(f"{tmp_path}/two/net.py:make")
    assert (one.call(), two.call(), one.call()) == (("one",) * 2, ("two",) * 2, ("one",) * 2)
    with pytest.raises(UsageError, match="lacks the package only_one"):
        load(f"{tmp_path}/two/net2.py:make")
    assert sys.modules["helper"] is mine
    assert mine.name == "mine"


def test_code_runs_on_when_its_folder_is_gone(write):
    folder = write(net="def make(): return 7")
    module = load("net.py:make")
    (folder / "net.py").unlink()
    folder.rename(folder.with_name("gone"))
    assert module.call() == 7


def test_a_library_in_the_folder_keeps_its_bytecode(write, monkeypatch):
    folder = write(net="import installed\ndef make(): return installed.__spec__.loader")
    (folder / "venv").mkdir()
    (folder / "venv" / "installed.py").touch()
    monkeypatch.setattr(sys, "path", [str(folder / "venv"), *sys.path])
    assert type(load("net.py:make").call()) is SourceFileLoader


@pytest.mark.parametrize("raised", ["SystemExit(0)", "BaseException()", "GeneratorExit"])
def test_no_exception_of_users_gets_past(write, raised):
    write(net=f"def make(): raise {raised}")
    with pytest.raises(UsageError, match=r"net\.py, line 1"):
        load("net.py:make").call()

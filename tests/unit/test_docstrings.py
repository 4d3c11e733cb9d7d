"""Public functions say what their names do not: a rule for each thing that a reader would ask."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("disdel", "openwhisk_local", "runtime-image")
# What is longer is no one-liner, whose name and types say all.
SHORT_LINES = 6
ARRAYS = re.compile(r"\b(NDArray|Array|Tensor|KerasTensor|Floats)\b")
SHAPES = re.compile(r"[Ss]hape|\([\w*]+,|[Ss]calar|same as|as `|[Aa]s stored|of any")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.fixture(scope="module")
def modules():
    files = (file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py")))
    return {file.relative_to(ROOT): ast.parse(file.read_text()) for file in files}


def public(body, owner=None):
    """The public functions of a module and of its public classes, each with its class."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node.body, node)
        elif isinstance(node, FUNCTIONS) and not node.name.startswith("_"):
            # What a partitioner refuses, is told behind the option that is given.
            decorators = " ".join(map(ast.unparse, node.decorator_list))
            if not re.search(r"overload|setter|\.command|partitioner", decorators):
                yield owner, node


def base_names(owner):
    for base in owner.bases:
        base = base.value if isinstance(base, ast.Subscript) else base
        yield base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")


def is_told_by_a_base(owner, name, classes, seen=()):
    """Whether a class above says what a method does."""
    if owner is None:
        return False
    for base in (one for known in base_names(owner) for one in classes[known]):
        if base in seen:
            continue
        if any(
            isinstance(node, FUNCTIONS) and node.name == name and ast.get_docstring(node)
            for node in base.body
        ) or is_told_by_a_base(base, name, classes, (*seen, base)):
            return True
    return False


@pytest.fixture(scope="module")
def functions(modules):
    """All that no base tells of: where each is, the function and what it says."""
    classes = defaultdict(list)
    for tree in modules.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(node)
    return [
        (f"{file}:{node.lineno} {node.name}", node, ast.get_docstring(node))
        for file, tree in modules.items()
        for owner, node in public(tree.body)
        if not is_told_by_a_base(owner, node.name, classes)
    ]


def parameters(node):
    given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
    return [one for one in given if one.arg not in ("self", "cls")]


def raises(node):
    """Whether it raises an error of its own; what can only be a bug is none."""
    inner = {one for part in node.body if isinstance(part, FUNCTIONS) for one in ast.walk(part)}
    nodes = (one for one in ast.walk(node) if one not in inner)
    found = (one.exc for one in nodes if isinstance(one, ast.Raise) and one.exc)
    return any(not re.match("AssertionError|NotImplementedError", ast.unparse(e)) for e in found)


def test_a_function_says_what_its_name_does_not(functions):
    def needs_words(node):
        lines = node.end_lineno - node.body[0].lineno + 1
        several = len(parameters(node)) > 1 and len(node.body) > 2
        return node.name != "main" and (several or lines > SHORT_LINES or raises(node))

    assert [where for where, node, text in functions if not text and needs_words(node)] == []


def test_an_error_that_is_raised_is_told(functions):
    silent = [
        where
        for where, node, text in functions
        # What a command refuses, its message says.
        if text and raises(node) and not where.split()[1].endswith("_command")
        if not re.search(r"[Rr]aise|[Rr]efuse", text)
    ]
    assert silent == []


def test_arrays_have_shapes(functions):
    def has_arrays(node):
        hints = [one.annotation for one in parameters(node)] + [node.returns]
        return any(ARRAYS.search(ast.unparse(hint)) for hint in hints if hint is not None)

    silent = [
        where
        for where, node, text in functions
        if text and has_arrays(node)
        if not SHAPES.search(text)
    ]
    assert silent == []

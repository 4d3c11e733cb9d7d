"""What the text of a user's code says of its function; nothing of it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from disdel.errors import UsageError
from disdel.user_code.collecting import UserCode

# By these a file can have names that its text does not show.
_MAKERS = frozenset({"__getattr__", "exec", "globals", "setattr"})


def parameters_of(code: UserCode) -> frozenset[str] | None:
    """The names that the function can be given values for; None where the text does not say it,
    since the function is imported, decorated or made.

    Raises:
        UsageError: the file has no such function.
    """
    tree = ast.parse(code.text)
    name = code.ref.function.partition(".")[0]
    bound = list(_bound(tree))
    if name not in bound:
        if "*" in bound or any(_is_maker(node) for node in ast.walk(tree)):
            return None
        functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        has = ", ".join(functions) or "no function"
        raise UsageError(f"{code.ref.entry}: there is no {name} in it; it has {has}")
    function = next(
        (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name),
        None,
    )
    if function is None or bound.count(name) > 1 or function.decorator_list:
        return None
    given = function.args
    return frozenset(one.arg for one in (*given.args, *given.kwonlyargs))


def _bound(tree: ast.Module) -> Iterator[str]:
    """The names that anything in a file binds, `*` for all of another module's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]


def _is_maker(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name in _MAKERS
    return isinstance(node, ast.Name) and node.id in _MAKERS

"""The direction of imports: which part of the library may know which."""

import ast
import functools
import graphlib
from pathlib import Path

import pytest

# Which room may import which, itself aside. `openwhisk_local.machine` is a room like these; the
# rest of `openwhisk_local` is a house of its own.
LEAVES = {"errors", "types", "protocol", "user_code", "connections", "machine"}
ALLOWED = {
    "errors": set(),
    "machine": set(),
    "types": {"errors"},
    "protocol": {"errors", "types"},
    "user_code": {"errors", "types"},
    "connections": {"errors"},
    # The process on the user's machine, and its environment.
    # The strategies are objects that keywords may be.
    "settings": {"__init__", "connections", "errors", "host", "strategies", "types"},
    "host": {"connections", "errors", "machine"},
    "store": LEAVES,
    "planner": {"errors", "types"},
    "strategies": {"errors", "types", "user_code"},
    "selection": {"errors", "types"},
    "privacy": {"errors", "types"},
    "secure_aggregation": {"errors", "types"},
    "report": {"errors", "types", "host"},
    "runtimes": {"errors", "types", "protocol", "user_code", "machine"},
    "models": {"errors", "types", "protocol", "user_code", "runtimes"},
    "data": LEAVES | {"host", "settings"},
    "worker": LEAVES
    | {"models", "privacy", "runtimes", "secure_aggregation", "store", "strategies"},
    # It calls an action, and knows none.
    "entry": {"errors", "types", "protocol", "machine"},
    # A process of its own, which the controller starts; it builds networks as workers do.
    "compiler": LEAVES | {"host", "models", "runtimes"},
    "memory_agent": {"errors", "types", "protocol"},
    # The launcher of the embedded platform reads its limits and its records; nobody else does.
    "platforms": LEAVES | {"entry", "host", "openwhisk_local", "settings"},
    "controller": LEAVES
    | {"compiler", "data", "host", "models", "planner", "platforms", "runtimes"}
    | {"privacy", "secure_aggregation", "selection", "settings", "store", "strategies"},
    # The controller's side, and the process of a ServerApp, which alone imports Flower.
    "flower": LEAVES | {"controller", "host", "planner", "platforms", "runtimes", "settings"},
    # What both fronts do.
    "jobs": LEAVES
    | {"controller", "data", "flower", "host", "models", "planner", "platforms", "report"}
    | {"runtimes", "settings", "strategies"},
    "api": LEAVES | {"controller", "jobs", "platforms", "runtimes", "settings", "strategies"},
    "cli": LEAVES
    | {"jobs", "controller", "data", "host", "memory_agent", "models", "platforms"}
    | {"report", "runtimes", "settings"},
    "__main__": {"cli", "host", "machine", "settings"},
    "__init__": {"api", "controller", "errors", "settings", "strategies"},
    "openwhisk_local": {"machine"},
}
# The rooms of the controller, from the ground up: each may import those before it, and `session`
# and `lifecycle`, which stand beside them.
CONTROLLER = ("runs", "invoking", "planning", "training", "federating", "inference")


def room_of(module):
    names = module.split(".")
    if names[0] == "openwhisk_local":
        return "machine" if "machine" in names[1:2] else "openwhisk_local"
    return names[1] if len(names) > 1 else "__init__"


def module_of(file):
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


def is_module(name):
    path = Path(name.replace(".", "/"))
    return path.is_dir() or path.with_suffix(".py").exists()


@functools.cache
def imports():
    """(importing module, imported module) of every import between our modules."""
    return tuple(_read_imports())


def _read_imports():
    for file in (*Path("disdel").rglob("*.py"), *Path("openwhisk_local").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            targets = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [name if is_module(name) else node.module for name in names]
            elif isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            for target in targets:
                if target.split(".")[0] in ("disdel", "openwhisk_local"):
                    yield module_of(file), target


def test_every_room_has_a_place():
    assert {room_of(module) for module, _ in imports()} <= ALLOWED.keys()


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_point_inwards(room):
    allowed = ALLOWED[room] | {room}
    # `disdel` itself has the version, and nothing else that rooms may take.
    odd = {
        (module, target)
        for module, target in imports()
        if room_of(module) == room and room_of(target) not in allowed and target != "disdel"
    }
    assert not odd


def test_no_two_rooms_need_each_other():
    # The package's front door, which all may ask for the version, is no room.
    rooms = {room: needs - {"__init__"} for room, needs in ALLOWED.items() if room != "__init__"}
    graphlib.TopologicalSorter(rooms).prepare()


def test_the_rooms_of_the_controller_point_inwards():
    floors = {f"disdel.controller.{name}": floor for floor, name in enumerate(CONTROLLER)}

    def floor_of(module):
        return floors.get(".".join(module.split(".")[:3]))

    odd = set()
    for module, target in imports():
        here, there = floor_of(module), floor_of(target)
        if here is not None and there is not None and there > here:
            odd.add((module, target))
    assert not odd


# By their names; a folder whose name would be a word of the language has an underscore behind it.
PLATFORMS = {
    entry.name.rstrip("_")
    for entry in Path("disdel/platforms").iterdir()
    if (entry / "provider.py").exists()
}


def conditions(tree):
    """The expressions on whose value it depends what is done."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
            yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
        elif isinstance(node, ast.Compare | ast.BoolOp):
            yield node
        elif isinstance(node, ast.Match):
            yield node.subject
        elif isinstance(node, ast.MatchValue):
            yield node.value


def asks_which(condition):
    """The words of a condition that ask which platform it is."""
    # Of an address it is no platform's name.
    of_a_scheme = any(getattr(node, "attr", "") == "scheme" for node in ast.walk(condition))
    for node in ast.walk(condition):
        named = isinstance(node, ast.Constant) and node.value in PLATFORMS
        if named and not (of_a_scheme and node.value == "http"):
            yield node.value
        word = getattr(node, "attr", getattr(node, "id", ""))
        if word in ("runs_here", "platform_name") or any(name in word for name in PLATFORMS):
            yield word


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("if session.platform_name == other: pass", True),
        ("x = 1 if name == 'embedded' else 2", True),
        ("match name:\n    case 'openwhisk': pass", True),
        ("names = [n for n in names if n.is_embedded]", True),
        ("if name == 'http': pass", True),
        ("if url.scheme not in ('http', 'https'): pass", False),
        ("if provider.traits.host_packages: pass", False),
        ("register('openwhisk')", False),
        ("if platform == 'lambda': pass", True),
    ],
)
def test_what_asks_for_a_platform_is_seen(code, found):
    words = [w for c in conditions(ast.parse(code)) for w in asks_which(c)]
    assert bool(words) is found


def test_nobody_asks_which_platform_it_is():
    """Its traits, its capacity and the endings of its records say what matters."""
    asked = {
        (str(file), word)
        for file in Path("disdel").rglob("*.py")
        if "platforms" not in file.parts
        for condition in conditions(ast.parse(file.read_text()))
        for word in asks_which(condition)
    }
    assert not asked


def test_actions_import_the_worker_side_only():
    for file in Path("actions").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module.startswith(("disdel.worker", "openwhisk_local.machine.cpus")), (
                    file
                )

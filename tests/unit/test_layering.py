"""The direction of imports: which part of the library may know which."""

import ast
from pathlib import Path

import pytest

ROOT = Path("disdel")

LEAVES = {
    "allocator",
    "arrays",
    "assets",
    "code_texts",
    "config",
    "container_cpus",
    "container_memory",
    "errors",
    "events",
    "files_read",
    "gpu",
    "helper",
    "home",
    "interrupts",
    "masking",
    "memory_grant",
    "patience",
    "process_identity",
    "streams",
    "targets",
    "telling",
    "program",
    "scratch",
    "settings",
    "trust",
    "types",
    "units",
    "user_code",
    "user_imports",
    "user_module",
    "wire",
}

# What each part may import beside the leaves and itself.
ALLOWED = {
    "catalog": set(),
    "scheduler": set(),
    "store": set(),
    "training": set(),
    "report": set(),
    "embedded": set(),
    # The launcher of the embedded platform reads its limits and its records; nobody else does.
    "platforms": {"embedded"},
    "worker": {"catalog", "store", "training"},
    "bundle": set(),
    # A process of its own; the controller starts it. It builds the user's networks as workers do.
    "compiler": {"catalog", "worker"},
    "memory_agent": set(),
    "controller": {"bundle", "catalog", "compiler", "platforms", "scheduler", "store", "training"},
    "api": {"catalog", "controller", "report", "scheduler"},
    "cli": {"api", "catalog", "controller", "memory_agent", "platforms", "report"},
    "crashes": {"__init__"},
    "__main__": {"cli", "crashes"},
    "__init__": {"api", "controller"},
}
LEAF_IMPORTS = {
    "helper": {"config"},
    "config": {"errors", "home", "masking"},
    "home": {"errors", "streams"},
    "events": {"types"},
    "memory_grant": {"errors"},
    "program": {"types"},
    "streams": {"errors"},
    "targets": {"errors"},
    "settings": {"__init__", "config", "errors", "home", "masking", "types"},
    "telling": {"config", "errors", "settings"},
    "trust": {"errors"},
    "types": {"errors"},
    "files_read": {"code_texts"},
    "user_code": {"code_texts", "errors", "types"},
    "user_module": {"errors", "types", "user_imports"},
    "wire": {"errors", "types"},
}


def part_of(module):
    return module.split(".")[1] if "." in module else "__init__"


def imports():
    """(importing part, imported part, file) of every import inside the library."""
    for file in ROOT.rglob("*.py"):
        part = file.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "disdel":
                if node.module == "disdel":
                    targets = [f"disdel.{alias.name}" for alias in node.names]
                else:
                    targets = [node.module]
            elif isinstance(node, ast.Import):
                targets = [a.name for a in node.names if a.name.split(".")[0] == "disdel"]
            else:
                continue
            for target in targets:
                yield part, part_of(target), file


def test_every_part_has_a_place():
    parts = {part for part, _, _ in imports()}
    assert parts - LEAVES <= ALLOWED.keys()


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_imports_point_inwards(part):
    allowed = ALLOWED[part] | LEAVES | {part, "__init__"}
    odd = {
        (str(file), target)
        for source, target, file in imports()
        if source == part and target not in allowed
    }
    assert not odd


@pytest.mark.parametrize("leaf", sorted(LEAVES))
def test_leaves_import_leaves_only(leaf):
    allowed = LEAF_IMPORTS.get(leaf, set()) | {leaf}
    odd = {
        (str(file), target)
        for source, target, file in imports()
        if source == leaf and target not in allowed
    }
    assert not odd


def test_actions_import_the_worker_side_only():
    for file in Path("actions").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module.startswith(("disdel.worker", "disdel.container_cpus")), file

"""What platforms advise, in the words of a fabric file."""

import ast
import re
from pathlib import Path

import pytest

from disdel.platforms.fabric.wording import in_file_words, names_in_file
from disdel.types import LimitNames

PLATFORMS = Path(__file__).parents[4] / "disdel" / "platforms"
# Beside a fabric they are refused.
REFUSED = re.compile(r"--(apihost|auth|insecure|limits|platform-option)(?![a-z-])")


@pytest.mark.parametrize(
    ("told", "reworded"),
    [
        (
            "no function is named: --platform-option url=https://…, or DISDEL_HTTP_URL",
            'no function is named: url = "https://…", or DISDEL_HTTP_URL',
        ),
        ("is unknown: --platform-option instances=N", "is unknown: instances = N"),
        (
            "(disdel export --memory, or --platform-option memory_max)",
            "(disdel export --memory, or memory_max)",
        ),
        (
            "no OpenWhisk answers at http://h (refused); check --apihost (or APIHOST in "
            "~/.wskprops), or leave it out for the embedded platform",
            "no OpenWhisk answers at http://h (refused); check address",
        ),
        (
            "no OpenWhisk is named: --apihost, DISDEL_APIHOST, or APIHOST in ~/.wskprops",
            "no OpenWhisk is named: address",
        ),
        ("if that is meant, --apihost http://h:1", 'if that is meant, address = "http://h:1"'),
        ("or leave it unchecked with --insecure", "or leave it unchecked with insecure = true"),
        ("raise --memory-max to 512", "raise --memory-max to 512"),
    ],
)
def test_options_are_told_as_keys(told, reworded):
    assert in_file_words(told) == reworded


def test_no_platform_has_a_word_that_is_refused_beside_a_file():
    told = []
    for file in PLATFORMS.rglob("*.py"):
        # What is read by who has one platform: exports, and the refusals of these options.
        if file.parent.name == "fabric" or file.name in ("exported.py", "registry.py"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                told += [in_file_words(node.value)] if REFUSED.search(node.value) else []
    assert len(told) > 10
    assert [text for text in told if REFUSED.search(text)] == []


def test_a_limit_is_raised_where_it_is_set():
    names = LimitNames(memory="--platform-option memory_max", pool="disdel platform up {need}")
    told = names_in_file(names, memory="", pool="pool_memory", time="time_limit")
    assert told == LimitNames(
        memory="memory_max",
        pool="pool_memory of the endpoint, in the fabric file",
        timeout="time_limit of the endpoint, in the fabric file",
    )

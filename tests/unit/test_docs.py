"""The docs hold together: links lead somewhere, every snippet has its mark, the site builds."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from urllib.parse import unquote

import pytest

from tests.support.docs_pages import (
    ROOT,
    RUNNABLE,
    anchors,
    dotted_names,
    links,
    named_files,
    other_pages,
    pages,
    snippets,
)

PAGES = [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages()]
CODE = ("disdel", "openwhisk_local", "runtime-image")
ALL_PAGES = [*PAGES, *(pytest.param(p, id=str(p.relative_to(ROOT))) for p in other_pages())]


@pytest.mark.parametrize("page", ALL_PAGES)
def test_links_lead_to_files_and_headings(page):
    broken = []
    for link, line in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{page.relative_to(ROOT)}:{line}: {link}")
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_pages_of_the_site_link_to_nothing_outside_of_it(page):
    docs = ROOT / "docs"
    if not page.is_relative_to(docs):
        pytest.skip("read in the repository only")
    upwards = [link for link, _ in links(page) if link.startswith("../")]
    outside = [link for link in upwards if not (page.parent / link).resolve().is_relative_to(docs)]
    assert outside == []


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_are_there(page):
    near = (page.parent, ROOT, ROOT / "disdel")
    missing = [name for name in named_files(page) if not any((a / name).exists() for a in near)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_the_names_of_the_library_that_a_page_uses_are_there(page):
    missing = []
    for name in dotted_names(page):
        file, rest = ROOT, name.split(".")
        while rest and (file / rest[0]).is_dir():
            file /= rest.pop(0)
        file = (
            file / f"{rest.pop(0)}.py"
            if rest and (file / f"{rest[0]}.py").exists()
            else file / "__init__.py"
        )
        if not file.exists() or (rest and not re.search(rf"\b{rest[0]}\b", file.read_text())):
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_snippet_is_run_or_says_why_not(page):
    unmarked = [
        str(snippet)
        for snippet in snippets(page)
        if snippet.language in RUNNABLE
        and (snippet.mark is None or (snippet.mark != "run" and not snippet.detail))
    ]
    assert unmarked == []


def written_in(folder):
    """The texts in the Python files of a folder, cut where a value is put in."""
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def runs_of_words(text):
    """Each run of three words, which are enough to know a message by; of shorter ones all words."""
    words = re.findall(r"\w+", text)
    return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


def test_the_messages_of_the_troubleshooting_page_are_those_of_the_code():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = [" ".join(text.split()) for text in re.findall(r"^\*\*`(.+?)`\*\*", page, re.M | re.S)]
    said = {run for folder in CODE for text in written_in(folder) for run in runs_of_words(text)}
    unknown = [message for message in quoted if said.isdisjoint(runs_of_words(message))]
    assert len(quoted) > 20
    assert unknown == []


@pytest.mark.skipif(find_spec("zensical") is None, reason="zensical, which builds it, is missing")
def test_the_site_builds_without_a_warning(tmp_path):
    # In a copy, since the builder writes beside its configuration.
    for name in ("docs", "disdel"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=tmp_path,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    for page in (tmp_path / "docs").glob("**/*.md"):
        name = page.relative_to(tmp_path / "docs").with_suffix("")
        folder = tmp_path / "build" / "site"
        assert (folder / ("index.html" if name.name == "index" else name / "index.html")).exists()

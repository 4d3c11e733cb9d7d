"""What the pages of the docs hold: links, headings, and snippets with what is to be done to each.

A block of a language in `RUNNABLE` has an HTML comment before it that says what becomes of it:

    <!-- run -->            it is run, in the page's own folder, after the page's blocks before it
    <!-- run: exit 2 -->    the same, and this is its exit code
    <!-- file: net.py -->   it is the text of that file, for the blocks that follow
    <!-- shown: REASON -->  it is only shown, since ...

In a console block that is run, the word RUN stands for the newest run of the folder, and what
stands below a command is what it says (`transcripts`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
RUNNABLE = ("bash", "console", "ipython", "python", "sh", "shell")

# Files of code and configuration below a folder; what a run or a user makes has other names.
_FILE = re.compile(r"[\w-]+(/[\w.-]+)*/[\w.-]+\.(py|toml|yaml|sh|j2)")
_DOTTED = re.compile(r"(disdel|openwhisk_local)(\.\w+)+")
_MARK = re.compile(r"<!--\s*(run|file|shown)(?::\s*(.+?))?\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """A fenced block.

    Attributes:
        line: its first line in the page.
        mark: "run", "file" or "shown"; None where nothing was said.
        detail: the exit code ("exit 2"), the file's name or the reason.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str | None
    detail: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def exit_code(self) -> int:
        """What it is to end with."""
        return int(self.detail.removeprefix("exit ")) if self.detail else 0

    @property
    def commands(self) -> list[tuple[str, str]]:
        """The commands of a console block, and what is shown of their output.

        A backslash at the end of a line continues a command.
        """
        commands: list[tuple[str, str]] = []
        open_ended = False
        for line in self.text.splitlines():
            command, shown = commands[-1] if commands else ("", "")
            if open_ended:
                commands[-1] = (f"{command}\n{line}", shown)
            elif line.startswith("$ "):
                commands.append((line[2:], ""))
            elif commands:
                commands[-1] = (command, f"{shown}{line}\n")
                continue
            open_ended = line.endswith("\\")
        return commands


def pages() -> list[Path]:
    """All pages that people read: of the repository's root, the docs and the examples."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    return sorted(found)


def other_pages() -> list[Path]:
    """Notes beside code, whose links are checked and whose blocks are not."""
    folders = ("deploy", "disdel", "experiments", "openwhisk-patches", "runtime-image")
    return sorted(page for folder in folders for page in (ROOT / folder).glob("**/*.md"))


def snippets(page: Path) -> list[Snippet]:
    """The fenced blocks of a page, in order."""
    found = []
    mark: re.Match[str] | None = None
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "html_block":
            mark = _MARK.match(token.content)
        elif token.type == "fence":
            language = token.info.split()[0] if token.info.strip() else ""
            said = mark.groups() if mark else (None, None)
            line = (token.map or [0])[0] + 1
            found.append(Snippet(page, line, language, token.content, *said))
            mark = None
        else:
            mark = None
    return found


def links(page: Path) -> Iterator[tuple[str, int]]:
    """Where the links and pictures of a page lead, and the line of each."""
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        line = (token.map or [0])[0] + 1
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if isinstance(target, str):
                yield target, line


def named_files(page: Path) -> list[str]:
    """The files of the repository that a page names in its text, as `folder/file.py`."""
    return [span for span in _code_spans(page) if _FILE.fullmatch(span)]


def dotted_names(page: Path) -> list[str]:
    """The modules, classes and functions that a page names in its text, as `disdel.train`."""
    return [span for span in _code_spans(page) if _DOTTED.fullmatch(span)]


def _code_spans(page: Path) -> Iterator[str]:
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        yield from (one.content for one in token.children or () if one.type == "code_inline")


def anchors(page: Path) -> set[str]:
    """What a link into a page may name: its headings, as GitHub writes them."""
    tokens = MarkdownIt().parse(page.read_text())
    return {_slug(body) for opening, body in pairwise(tokens) if opening.type == "heading_open"}


def _slug(heading: Token) -> str:
    text = "".join(
        child.content for child in heading.children or () if child.type in ("text", "code_inline")
    )
    text = unicodedata.normalize("NFC", text).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")

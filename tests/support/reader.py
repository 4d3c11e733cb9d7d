"""Somebody who does what a page of the docs says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.docs_pages import ROOT, Snippet, snippets
from tests.support.transcripts import not_said


def do_what_it_says(page: Path, folder: Path, home: Path) -> None:
    """Do what a page says in a new `folder`; an example's files are at hand."""
    if page.is_relative_to(ROOT / "examples"):
        shutil.copytree(page.parent, folder)
    else:
        folder.mkdir()
    reader = Reader(folder, home)
    for snippet in snippets(page):
        reader.does(snippet)


class Reader:
    """Somebody who does what a page says, in a folder of his own, with his home."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not _ours(name)}
        bin_folder = str(Path(sys.executable).parent)
        path = os.pathsep.join([bin_folder, kept["PATH"]])
        self.env = kept | {"HOME": str(home), "PATH": path, "COLUMNS": "120"}

    def does(self, snippet: Snippet) -> None:
        """Run a block, or save it as the file that it is."""
        if snippet.mark == "file":
            (self.folder / str(snippet.detail)).write_text(snippet.text)
        elif snippet.mark == "run" and snippet.language == "python":
            script = self.folder / "snippet.py"
            script.write_text(snippet.text)
            self._run([sys.executable, script.name], snippet, "")
        elif snippet.mark == "run":
            for command, shown in snippet.commands:
                if re.search(r"\bRUN\b", command):
                    command = re.sub(r"\bRUN\b", self._newest_run(), command)
                self._run(["bash", "-c", command], snippet, shown)

    def _newest_run(self) -> str:
        runs = [folder for folder in (self.folder / "runs").iterdir() if folder.is_dir()]
        return max(runs, key=lambda folder: folder.stat().st_ctime_ns).name

    def _run(self, command: list[str], snippet: Snippet, shown: str) -> None:
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        what = f"{snippet}: {command[-1]}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == snippet.exit_code, what
        assert "Traceback" not in done.stderr, what
        # Progress goes there, and the summary behind it.
        missing = not_said(shown, done.stderr + done.stdout)
        assert not missing, f"{what}\nthe page shows, and it does not say: {missing}"


def _ours(name: str) -> bool:
    return name.startswith(("DISDEL_", "TFDS_")) or name == "WSK_CONFIG_FILE"

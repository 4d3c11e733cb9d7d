"""What a page shows of a command's output, beside what the command says.

Numbers, ids and what the machine decides differ from run to run; words, and the order of the lines,
do not. `…` on a page stands for anything.
"""

from __future__ import annotations

import re

# Ids of runs before numbers, which are in them; what follows a number may be one or several.
_ALIKE = (
    (re.compile(r"\d{8}-\d{6}-\S+?-[0-9a-f]{4}\b"), "RUN"),
    (re.compile(r"memory enforced by [^,\n]+"), "memory enforced by HOW"),
    (re.compile(r"\(measured: .*?\)"), "(measured)"),
    # The runtime is chosen by what this machine has measured, and decides the model's format.
    (re.compile(r"\b(?:compiled|tensorflow|torch) (?=workers? )"), ""),
    (re.compile(r"\bmodel\.(?:keras|safetensors)\b"), "MODEL"),
    (re.compile(r"\d[\d.,]*"), "N"),
    (re.compile(r"(?<=N )([a-z]+?)s\b"), r"\1"),
)


def not_said(shown: str, output: str) -> list[str]:
    """The lines of a page that the output lacks, or has in another order.

    Args:
        shown: what stands on the page below a command; long lines may be broken there.
        output: what the command has written.
    """
    left, missing = _alike(output), []
    for line in shown.splitlines():
        for part in _alike(line).split("…"):
            _, found, after = left.partition(part.strip())
            if found:
                left = after
            else:
                missing.append(line)
    return missing


def _alike(text: str) -> str:
    for pattern, word in _ALIKE:
        text = pattern.sub(word, text)
    return " ".join(text.split())

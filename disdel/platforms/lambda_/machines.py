"""Compiled files in a zip that no processor of a function can load, found before they are sent."""

from __future__ import annotations

import zipfile

from disdel.errors import PlatformRejected

# Of the ELF format: what a file begins with, and where it names its machine (little-endian).
_MAGIC = b"\x7fELF"
_MACHINE = slice(18, 20)
_MACHINES = {0x3E: "x86_64", 0xB7: "arm64"}
_BAD_REQUEST = 400


def check_machine(name: str, archive: zipfile.ZipFile, architecture: str) -> None:
    """Refuse a zip whose compiled files are for other processors alone.

    Files for several machines lie side by side; of each folder one must be for the right one.

    Args:
        name: of the action, for messages.
        archive: its code.
        architecture: of the function, in Lambda's names.

    Raises:
        PlatformRejected: there are such files.
    """
    found: dict[str, dict[str, str]] = {}
    for member in archive.infolist():
        with archive.open(member) as file:
            start = file.read(_MACHINE.stop)
        if start.startswith(_MAGIC):
            number = int.from_bytes(start[_MACHINE], "little")
            machine = _MACHINES.get(number, f"machine {number}")
            folder = member.filename.rpartition("/")[0]
            found.setdefault(folder, {}).setdefault(machine, member.filename)
    for machines in found.values():
        if architecture not in machines:
            raise PlatformRejected(_refusal(name, machines, architecture), status=_BAD_REQUEST)


def _refusal(name: str, machines: dict[str, str], architecture: str) -> str:
    [(machine, file), *_] = machines.items()
    arch = "amd64" if architecture == "x86_64" else architecture
    todo = f"compile it for that, or have what disdel compiles so with --arch {arch}"
    if machine in _MACHINES.values():
        todo += f"; or name --platform-option architecture={machine}"
    return (
        f"{file} in the code of {name} is compiled for {machine}, and its function runs on "
        f"{architecture}: {todo}"
    )

"""Who of the roster trains in a round: selections by name, and who is there to be asked."""

from disdel.selection import built_in  # noqa: F401  # registers them
from disdel.selection.availability import Availability, read_availability, trace_digest
from disdel.selection.registry import Choice, Selection, find_selection, selection, selection_names
from disdel.selection.roster import Roster

__all__ = [
    "Availability",
    "Choice",
    "Roster",
    "Selection",
    "find_selection",
    "read_availability",
    "selection",
    "selection_names",
    "trace_digest",
]

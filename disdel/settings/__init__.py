"""Settings that are declared once, and where their values come from.

A setting is a field of a dataclass, annotated with a `disdel.types.setting.Setting`. Jobs are
declared in `disdel.types`, and other things where they are used; `Settings` is here. `fields`
reads the declarations, `resolving` decides between flag, environment and default, `config_file`
reads what a user's file says, `signatures` gives functions their keywords, and `tables` writes the
documentation.
"""

from disdel.settings.fields import Declared, build, changed, declared, entries
from disdel.settings.resolving import found, resolve
from disdel.settings.settings import LimitsName, Settings, data_dir, run_dir

__all__ = [
    "Declared",
    "LimitsName",
    "Settings",
    "build",
    "changed",
    "data_dir",
    "declared",
    "entries",
    "found",
    "resolve",
    "run_dir",
]

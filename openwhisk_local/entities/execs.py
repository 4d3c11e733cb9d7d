"""What an action executes: code in a runtime, or other actions one after another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from openwhisk_local.containers.images import BLACKBOX, is_image_name, known_kinds, resolve_kind
from openwhisk_local.entities.fields import Json, compact_json
from openwhisk_local.entities.names import NAMESPACE, Name, read_name
from openwhisk_local.limits import MAX_CODE_BYTES
from openwhisk_local.machine.on_disk import OnDisk
from openwhisk_local.replies import LONG_SEQUENCE, ApiError, malformed, too_large

SEQUENCE = "sequence"

# Of a kind that there is not.
_SHOWN_KIND = 256
_SHOWN_CODE = 1024
# Far more than a sequence may have, which is told later: by then it is known who may ask.
_READ_COMPONENTS = 1000

_BASE64_TEXT = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)


def is_binary_code(text: str) -> bool:
    """Whether a text is base64: one line of whole quanta."""
    text = text.strip()
    return len(text) % 4 == 0 and _BASE64_TEXT.fullmatch(text) is not None


@dataclass(frozen=True)
class Code:
    """Code of a runtime kind, or of a container image for the kind `blackbox`.

    There may be megabytes of it, which only a new container wants: they are on disk, and looked
    through once and not at every invocation.
    """

    kind: str
    held: OnDisk | None
    main: str | None = None
    image: str | None = None

    @classmethod
    def of(
        cls, kind: str, code: str | None, main: str | None = None, image: str | None = None
    ) -> Code:
        """Code whose text is `code`."""
        return cls(kind, None if code is None else OnDisk(code.encode()), main, image)

    @property
    def code(self) -> str | None:
        """The text, read anew each time."""
        return None if self.held is None else self.held.read().decode()

    @property
    def code_bytes(self) -> int:
        """What the text takes."""
        return 0 if self.held is None else self.held.size

    @cached_property
    def binary(self) -> bool:
        """Whether the code is a base64 archive: one line of whole base64 quanta.

        It is computed, whatever the client says.
        """
        return is_binary_code(self.code or "")

    def to_wire(self, *, with_code: bool = True) -> dict[str, Json]:
        optional = {"image": self.image, "main": self.main}
        if with_code:
            optional["code"] = self.code
        wire: dict[str, Json] = {"kind": self.kind, "binary": self.binary}
        return wire | {key: text for key, text in optional.items() if text is not None}


@dataclass(frozen=True, slots=True)
class Sequence:
    """Actions, each of which receives the result of the one before."""

    components: tuple[Name, ...]

    @property
    def kind(self) -> str:
        return SEQUENCE

    @property
    def binary(self) -> bool:
        return False

    @property
    def paths(self) -> list[str]:
        return [f"/{component.path}" for component in self.components]

    def to_wire(self, *, with_code: bool = True) -> dict[str, Json]:  # noqa: ARG002 as `Code`
        return {"kind": self.kind, "components": self.paths}


Exec = Code | Sequence


def read_exec(wire: Json, own: str = NAMESPACE) -> Exec:
    """The `exec` of a request.

    Raises:
        ApiError: 400 for an unknown kind, image or shape, 403 for a component in somebody else's
            namespace, 413 for too much code.
    """
    if not isinstance(wire, Mapping) or not isinstance(kind := wire.get("kind"), str):
        raise malformed("'kind' must be a string defined in 'exec'")
    kind = kind.strip().lower()
    if kind == SEQUENCE:
        return _read_sequence(wire, own)
    executed = _read_blackbox(wire) if kind == BLACKBOX else _read_code(wire, kind)
    size = executed.code_bytes + len((executed.main or "").encode())
    if size > MAX_CODE_BYTES:
        raise too_large("exec", size, MAX_CODE_BYTES)
    return executed


def _read_sequence(wire: Mapping[str, Json], own: str) -> Sequence:
    components = wire.get("components")
    if components is None:
        raise malformed("'components' must be defined for sequence kind")
    if not isinstance(components, list):
        raise malformed("'components' must be an array")
    if len(components) > _READ_COMPONENTS:
        raise ApiError(400, LONG_SEQUENCE)
    return Sequence(tuple(read_name(component, own) for component in components))


def _read_blackbox(wire: Mapping[str, Json]) -> Code:
    image, code = wire.get("image"), wire.get("code")
    if not isinstance(image, str):
        raise malformed("'image' must be a string defined in 'exec' for 'blackbox' actions")
    if not is_image_name(image):
        raise malformed("could not parse image name")
    if not isinstance(code, str | None):
        raise malformed("'code' must be a string in 'exec' for 'blackbox' actions")
    code = code if (code or "").strip() else None
    return Code.of(BLACKBOX, code, _read_main(wire, BLACKBOX), image)


def _read_code(wire: Mapping[str, Json], kind: str) -> Code:
    main = _read_main(wire, kind)
    concrete = resolve_kind(kind)
    if concrete is None:
        known = ", ".join(f"'{each}'" for each in (*known_kinds(), SEQUENCE, BLACKBOX))
        raise malformed(
            f"The specified runtime '{kind[:_SHOWN_KIND]}' is not supported by this platform. "
            f"Valid values are: {known}."
        )
    code = wire.get("code")
    if code is None:
        raise malformed(
            f"'code' must be a string or attachment object defined in 'exec' for '{kind}' actions"
        )
    if not isinstance(code, str):
        shown = compact_json(code)[:_SHOWN_CODE].decode(errors="replace")
        raise malformed(f"Could not deserialize as attachment record: {shown}")
    return Code.of(concrete, code, main)


def _read_main(wire: Mapping[str, Json], kind: str) -> str | None:
    main = wire.get("main")
    if not isinstance(main, str | None):
        raise malformed(f"if defined, 'main' be a string in 'exec' for '{kind}' actions")
    return main

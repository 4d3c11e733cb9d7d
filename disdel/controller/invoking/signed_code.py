"""An action as it is made where requests are signed."""

from __future__ import annotations

from dataclasses import replace

from disdel.controller.invoking.bundle import with_file
from disdel.platforms.base import ActionSpec
from disdel.platforms.parts import parts_of
from disdel.protocol.calls import own_digest
from disdel.protocol.signing import CODE_SIGNATURE, Signer
from disdel.protocol.signing_keys import BUNDLED


def signed_action(spec: ActionSpec, signer: Signer | None) -> ActionSpec:
    """The action with the key of its run in its zip, where no request changes it, and signed.

    An endpoint that its user deploys with a secret takes no other code. Where nothing is signed,
    the action is as it was.
    """
    if signer is None:
        return spec
    code = with_file(spec.code, BUNDLED, signer.key.hex())
    told = {CODE_SIGNATURE: signer.of_code(own_digest(parts_of(code).own))}
    return replace(spec, code=code, parameters={**spec.parameters, **told})

"""What files of PyTorch models of versions 1 and 2 say of their networks, as it is said now.

Networks of the first version standardised nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dacite

from disdel.models import built_in
from disdel.types.names import DEFAULT_OPTIMIZER, USUAL_LOSSES
from disdel.types.reading import Scaling
from disdel.types.specs import (
    CodeRef,
    LossSpec,
    ModelFacts,
    ModelSpec,
    OptimizerSpec,
    feature_of,
    target_of,
)

_AS_TUPLES = dacite.Config(cast=[tuple])


def described_then(fields: Mapping[str, Any]) -> ModelSpec:
    """The description of the network in a file's metadata.

    Raises:
        KeyError, TypeError, ValueError, DaciteError: it is none.
    """
    model, input_dtype = fields["model"], str(fields["input_dtype"])
    shape, classes = tuple(model["input_shape"]), int(model["classes"])
    if (own := model["own"]) is None:
        scaled = model.get("scaling")
        if scaled is not None:
            units = {name: (scaled[name],) for name in ("target_mean", "target_deviation")}
            scaled = {**scaled, **units}
        return built_in(
            model["name"],
            input_shape=shape,
            classes=classes,
            input_dtype=input_dtype,
            scaling=None if scaled is None else dacite.from_dict(Scaling, scaled, _AS_TUPLES),
        )
    return ModelSpec(
        name=model["name"],
        features=(feature_of(shape, input_dtype),),
        targets=(target_of(classes),),
        learns=model["target"],
        gives_probabilities=own["gives_probabilities"],
        takes_integers=own.get("takes_integers", False),
        facts=dacite.from_dict(ModelFacts, own["facts"]),
        # How it was trained does not matter to who loads it.
        default_optimizer=OptimizerSpec(name=own["optimizer"] or DEFAULT_OPTIMIZER),
        loss=LossSpec(name=USUAL_LOSSES[model["target"]]),
        code=dacite.from_dict(CodeRef, own["code"], _AS_TUPLES),
        home="torch",
    )

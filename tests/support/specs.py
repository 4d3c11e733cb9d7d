"""Descriptions of data sets and networks of the usual form: one tensor, one target."""

from __future__ import annotations

from disdel.types import (
    CodeRef,
    DatasetSpec,
    LossSpec,
    ModelFacts,
    ModelSpec,
    Reading,
    feature_of,
    target_of,
)

FACTS = ModelFacts(parameters=9, activations=9, outputs=9, largest=9, layers=1, multiply_adds=9)


def dataset_spec(
    *,
    input_shape,
    input_dtype,
    classes,
    class_names=(),
    target_shape=(),
    reading=Reading(),  # noqa: B008 - frozen
    **others,
):
    return DatasetSpec(
        features=(feature_of(input_shape, input_dtype, from_table=reading.table is not None),),
        targets=(target_of(classes, target_shape, class_names),),
        reading=reading,
        **others,
    )


def own_model(
    *,
    input_shape,
    classes,
    target_shape=(),
    home="torch",
    code=None,
    input_dtype="uint8",
    **others,
):
    """A network of a user's, as it might be found."""
    code = code or CodeRef(
        entry="net.py:f", source="net.py", function="f", requirements=(), digest="0" * 20
    )
    fields = {
        "name": code.entry,
        "learns": "class" if classes else "number",
        "gives_probabilities": False,
        "facts": FACTS,
        "loss": LossSpec(name="cross_entropy"),
        **others,
    }
    return ModelSpec(
        features=(feature_of(input_shape, input_dtype),),
        targets=(target_of(classes, target_shape),),
        code=code,
        home=home,
        **fields,
    )

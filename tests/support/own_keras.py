"""The trainer of a user's Keras model as an action builds it, of code that was not described."""

from disdel.types import target_of
from tests.support.specs import own_model


def own_trainer(
    module,
    *,
    input_shape,
    classes,
    gives_probabilities=False,
    target_shape=(),
    learning_rate=None,
    input_dtype="float32",
    precision="float32",
):
    from disdel.models.user.keras_model import build_own, describe_optimizer, network_of
    from disdel.runtimes.keras.trainer import KerasTrainer

    built = build_own(module, input_shape, target_of(classes, target_shape))
    spec = own_model(
        input_shape=input_shape,
        classes=classes,
        target_shape=target_shape,
        input_dtype=input_dtype,
        learns=built.learns,
        gives_probabilities=gives_probabilities,
        home="tensorflow",
        code=module.code,
        default_optimizer=describe_optimizer(module),
    )
    network = network_of(module, built, spec)
    return KerasTrainer(
        network.model,
        optimizer=network.optimizer(spec.default_optimizer),
        learning_rate=learning_rate,
        input_dtype=input_dtype,
        recipe=network.recipe,
        precision=precision,
    )

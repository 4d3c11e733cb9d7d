"""The user's own Keras model: built, checked, made ready to train. Imports Keras when called."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from disdel.errors import UsageError
from disdel.training.base import Trainer
from disdel.training.keras_recipe import KerasRecipe, Measure, mean_of, recipe_for
from disdel.types import DEFAULT_OPTIMIZER, OwnModel, Precision, Target
from disdel.user_module import UserModule
from disdel.wire import Network
from disdel.worker.own_code import a_kind, function_beside, module_here, target_of

# Keras ships no types.
KerasModel = Any
KerasTensor = Any


@dataclass(frozen=True, slots=True)
class Built:
    """A model of the user's.

    Attributes:
        made: as the function returned it.
        model: from samples as stored, float32, to what `made` gives for them preprocessed.
        target: what it can learn of a data set, by the width of its output.
    """

    made: KerasModel
    model: KerasModel
    target: Target


def register_definitions(module: UserModule) -> None:
    """Have Keras find the user's classes and functions by name when it loads a model."""
    import keras

    keras.saving.get_custom_objects().update(module.definitions())


def own_keras_trainer(network: Network, own: OwnModel, input_dtype: str) -> Trainer:
    """The trainer of the model in this bundle.

    Raises:
        UsageError: this runtime lacks a package that it needs, or it cannot be built here.
    """
    module = module_here(own.code)
    built = build_own(module, network.model.input_shape, network.model.classes)
    return own_trainer(
        module,
        built,
        gives_probabilities=own.gives_probabilities,
        optimizer=network.optimizer,
        learning_rate=network.learning_rate,
        input_dtype=input_dtype,
        precision=network.precision,
    )


def own_trainer(
    module: UserModule,
    built: Built,
    *,
    gives_probabilities: bool,
    optimizer: str | None,
    learning_rate: float | None,
    input_dtype: str,
    precision: Precision = "float32",
) -> Trainer:
    """The trainer of a built model; `optimizer` is None for the one beside its function.

    Raises:
        UsageError: loss, metrics or optimizer beside the function are none.
    """
    from disdel.training.keras_adapter import KerasTrainer

    chosen = optimizer or own_optimizer(module) or DEFAULT_OPTIMIZER
    if learning_rate is not None and not isinstance(chosen, str):
        # Made anew: a rate that follows a schedule cannot be set.
        config = {**chosen.get_config(), "learning_rate": learning_rate}
        chosen = type(chosen).from_config(config)
    return KerasTrainer(
        built.model,
        optimizer=chosen,
        learning_rate=learning_rate,
        input_dtype=input_dtype,
        recipe=_recipe(module, built, gives_probabilities=gives_probabilities),
        precision=precision,
    )


def build_own(module: UserModule, input_shape: tuple[int, ...], classes: int) -> Built:
    """Call the user's function and check what it returns.

    Args:
        module: its module.
        input_shape: of one sample.
        classes: of the data set, 0 where targets are numbers.

    Raises:
        UsageError: the function failed, or did not return an uncompiled Keras model of one input
            and one output that suit the data set.
    """
    import keras

    # Keras numbers unnamed layers in a process; a warm container must give a cold one's names.
    keras.utils.clear_session()
    return build_own_here(module, input_shape, classes)


def build_own_here(module: UserModule, input_shape: tuple[int, ...], classes: int) -> Built:
    """As `build_own`, within the scopes of Keras that are open, which that leaves."""
    import keras

    entry = module.code.entry
    made = module.call(input_shape=input_shape, classes=classes)
    if not isinstance(made, keras.Model):
        raise UsageError(
            f"{entry} returned {a_kind(made)}, where an uncompiled keras.Model is needed"
        )
    if made.compiled:
        raise UsageError(
            f"{entry} returned a compiled model; return it uncompiled, and put what compile() was "
            "given beside the function: loss = …, metrics = […], def optimizer(): …"
        )
    _check_input(entry, made, input_shape)
    samples = keras.Input(input_shape, name="samples")
    inputs = _preprocessed(module, samples)
    outputs = module.guarded(lambda: made(inputs))
    target = _target(entry, outputs, classes)
    return Built(made, keras.Model(samples, outputs), target)


def _check_input(entry: str, made: KerasModel, input_shape: tuple[int, ...]) -> None:
    inputs = getattr(made, "inputs", None)  # None until a model without a graph is called
    if not inputs:
        return
    if len(inputs) > 1:
        raise UsageError(
            f"the model of {entry} has {len(inputs)} inputs, and a data set has one: the samples"
        )
    wanted = tuple(inputs[0].shape[1:])
    fits = len(wanted) == len(input_shape) and all(
        size in (None, given) for size, given in zip(wanted, input_shape, strict=True)
    )
    if not fits:
        raise UsageError(
            f"the model of {entry} takes samples of shape {wanted}, and the data set has "
            f"{input_shape}; a function with a parameter input_shape is given that"
        )


def _preprocessed(module: UserModule, samples: KerasTensor) -> KerasTensor:
    preprocess = function_beside(module, "preprocess")
    if preprocess is None:
        return samples
    try:
        done = preprocess(samples)
    except Exception as error:
        said = module.describe(error)
        raise UsageError(
            f"{said}\npreprocess is part of the saved model, so it must be written with keras.ops "
            "or Keras layers"
        ) from error
    return done


def _target(entry: str, outputs: KerasTensor, classes: int) -> Target:
    if isinstance(outputs, list | tuple | dict):
        raise UsageError(f"the model of {entry} has {len(outputs)} outputs, and one is needed")
    return target_of(entry, tuple(outputs.shape)[1:], classes)


def ends_in_probabilities(built: Built) -> bool:
    """Whether the last layer is a softmax or, for one output, a sigmoid."""
    layer = built.made
    while inner := (getattr(layer, "operations", None) or getattr(layer, "layers", None)):
        layer = inner[-1]
    activation = getattr(layer, "activation", None)
    names = {type(layer).__name__.lower(), getattr(activation, "__name__", "")}
    return ("sigmoid" if built.target == "binary" else "softmax") in names


def own_optimizer(module: UserModule) -> str | Any | None:
    """The optimizer beside the user's function: a name that Keras knows, or a new Keras optimizer.

    Raises:
        UsageError: what stands there is neither.
    """
    import keras

    found = module.attribute("optimizer")
    if found is None:
        return None
    if isinstance(found, keras.optimizers.Optimizer):
        # Each trainer has one of its own: it belongs to the variables that it was built for.
        return type(found).from_config(found.get_config())
    if callable(found):
        found = module.guarded(found)
    if isinstance(found, str):
        try:
            keras.optimizers.get(found)
        except ValueError:
            raise UsageError(f"{module.code.entry}: Keras has no optimizer {found!r}") from None
        return found
    if not isinstance(found, keras.optimizers.Optimizer):
        raise UsageError(
            f"{module.code.entry}: optimizer must be a name or a function that returns a Keras "
            f"optimizer, not {a_kind(found)}"
        )
    return found


def _recipe(module: UserModule, built: Built, *, gives_probabilities: bool) -> KerasRecipe:
    recipe = recipe_for(built.target, probabilities=gives_probabilities)
    loss = own_loss(module)
    metrics = {name: mean_of(metric) for name, metric in own_metrics(module)}
    return replace(
        recipe,
        loss=recipe.loss if loss is None else mean_of(loss),
        metrics={**recipe.metrics, **metrics},
        augment=function_beside(module, "augment"),
        exported=exported(built, gives_probabilities=gives_probabilities),
    )


def exported(built: Built, *, gives_probabilities: bool) -> KerasModel:
    """The model as it is saved: preprocessing included, to a probability a class or a number."""
    import keras

    outputs = built.model.outputs[0]
    if built.target == "class" and not gives_probabilities:
        outputs = keras.layers.Softmax()(outputs)
    elif built.target == "binary":
        chance = outputs if gives_probabilities else keras.ops.sigmoid(outputs)
        outputs = keras.ops.concatenate([1 - chance, chance], axis=-1)
    return keras.Model(built.model.inputs[0], outputs)


def own_loss(module: UserModule) -> Measure | None:
    """The loss beside the user's function: a Keras loss, or a function of y_true and y_pred.

    Raises:
        UsageError: what stands there is none.
    """
    import keras

    found = module.attribute("loss")
    if found is None:
        return None
    if isinstance(found, str):
        try:
            found = keras.losses.get(found)
        except ValueError:
            raise UsageError(f"{module.code.entry}: Keras has no loss {found!r}") from None
    if isinstance(found, type):
        found = module.guarded(found)
    if not callable(found):
        raise UsageError(
            f"{module.code.entry}: loss must be a name, a Keras loss or a function of y_true and "
            f"y_pred, not {a_kind(found)}"
        )
    return found


def own_metrics(module: UserModule) -> Iterable[tuple[str, Measure]]:
    """The metrics beside the user's function: name and function, whose mean over samples it is.

    Raises:
        UsageError: one of them is not such a mean.
    """
    found = module.attribute("metrics")
    if found is None:
        return
    for metric in found if isinstance(found, list | tuple) else [found]:
        yield _metric(module, metric)


def _metric(module: UserModule, metric: object) -> tuple[str, Measure]:
    """A metric that is a mean over samples; Keras's metrics of that kind give their function."""
    import keras

    known: Any = metric
    if isinstance(metric, str):
        try:
            known = keras.metrics.get(metric)
        except ValueError:
            raise UsageError(f"{module.code.entry}: Keras has no metric {metric!r}") from None
    elif isinstance(metric, type):
        known = module.guarded(metric)
    if inspect.isroutine(known):
        return known.__name__, known
    if isinstance(known, keras.metrics.MeanMetricWrapper):
        config = known.get_config()
        own = inspect.signature(known._fn).parameters  # Keras gives it in no other way
        settings = {name: value for name, value in config.items() if name in own}
        return known.name, lambda y, given: known._fn(y, given, **settings)
    raise UsageError(
        f"{module.code.entry}: metric {metric!r} is not a mean over samples; name one that is, or "
        "give a function of y_true and y_pred"
    )

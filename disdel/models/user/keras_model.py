"""The user's own Keras model: built, checked, made ready to train. Imports Keras when called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from disdel.errors import UsageError
from disdel.models.keras_made import KerasNetwork
from disdel.models.user.bundled import function_beside, learnt, module_here, offered
from disdel.models.user.keras_losses import loss_is_sum, own_loss, own_metrics, weights_of
from disdel.runtimes.keras.recipe import KerasRecipe, mean_of, recipe_for
from disdel.types.names import DEFAULT_OPTIMIZER, SampleKind, Target
from disdel.types.specs import CodeRef, ModelSpec, OptimizerSpec, TargetSpec
from disdel.types.words import a_kind
from disdel.user_code.module import UserModule

# Keras ships no types.
KerasModel = Any
KerasOptimizer = Any
KerasTensor = Any

# What `fit`, `evaluate` and `predict` would call of a model.
_STEPS_OF_FIT = (
    *("train_step", "test_step", "predict_step"),
    *("compute_loss", "stateless_compute_loss", "compute_metrics", "get_metrics_result"),
    *("compile", "fit", "train_on_batch", "make_train_function"),
)


@dataclass(frozen=True, slots=True)
class Built:
    """A model of the user's.

    Attributes:
        made: as the function returned it.
        model: from samples as stored, or as float32, to what `made` gives for them preprocessed.
        learns: how it tells of the data set's target, by the shape of its output.
    """

    made: KerasModel
    model: KerasModel
    learns: Target


def register_definitions(module: UserModule) -> None:
    """Have Keras find the user's classes and functions by name when it loads a model."""
    import keras

    keras.saving.get_custom_objects().update(module.definitions())


def bundled_network(spec: ModelSpec, code: CodeRef) -> KerasNetwork:
    """The network of a description whose code is in this bundle.

    Raises:
        UsageError: this runtime lacks a package that it needs, or it cannot be built here.
    """
    import keras

    # Keras numbers unnamed layers in a process; a warm container must give a cold one's names.
    # Before the user's file says what it sets for the session, such as a policy of precision.
    keras.utils.clear_session()
    module = module_here(code)
    return network_of(module, build_described(module, spec), spec)


def build_described(module: UserModule, spec: ModelSpec) -> Built:
    """Build the model of a description again. Raises as `build_own`."""
    dtype = spec.input_dtype if spec.takes_integers else "float32"
    return build_own(module, spec.input_shape, spec.target, dtype)


def network_of(module: UserModule, built: Built, spec: ModelSpec) -> KerasNetwork:
    """A built model and how it is trained, by its description and what stands beside its function.

    Raises:
        UsageError: loss or metrics beside the function are none.
    """
    return KerasNetwork(
        built.model,
        _recipe(module, built, spec),
        optimizer=lambda chosen: _scaling_losses(optimizer_of(module, chosen), built),
    )


def _scaling_losses(optimizer: str | KerasOptimizer, built: Built) -> str | KerasOptimizer:
    """As Keras has it for a model in half precision, whose gradients else vanish."""
    import keras

    wraps = keras.optimizers.LossScaleOptimizer
    if built.made.dtype_policy.name != "mixed_float16" or isinstance(optimizer, wraps):
        return optimizer
    return wraps(keras.optimizers.get(optimizer))


def build_own(
    module: UserModule, input_shape: tuple[int, ...], target: TargetSpec, dtype: str = "float32"
) -> Built:
    """Call the user's function and check what it returns, within the scopes of Keras that are open.

    Args:
        module: its module.
        input_shape: of one sample.
        target: what the data set has to learn.
        dtype: of the samples as they are given to it.

    Raises:
        UsageError: the function failed, or did not return an uncompiled Keras model of one input
            and one output that suit the data set.
    """
    return built_of(module, called(module, input_shape, target), input_shape, target, dtype)


def called(module: UserModule, input_shape: tuple[int, ...], target: TargetSpec) -> KerasModel:
    """The model that the user's function returns, checked as far as it can be without a call of it.

    Raises:
        UsageError: the function failed, or returned no uncompiled Keras model of one input.
    """
    import keras

    entry = module.code.entry
    made = module.call(**offered(input_shape, target))
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
    _check_batches(entry, made)
    _check_steps(module, made)
    return made


def built_of(
    module: UserModule,
    made: KerasModel,
    input_shape: tuple[int, ...],
    target: TargetSpec,
    dtype: str,
) -> Built:
    """A model that was returned, with what stands around it. Takes and raises as `build_own`."""
    import keras

    entry = module.code.entry
    samples = keras.Input(input_shape, name="samples", dtype=dtype)
    if dtype != "float32" and type(made) is keras.Sequential and not made.built:
        # Keras would have it begin with an input of float32.
        whole = keras.Input(input_shape, dtype=dtype)
        made = keras.Sequential([whole, *made.layers], name=made.name)
    inputs = _preprocessed(module, samples)
    outputs = module.guarded(lambda: made(inputs))
    learns = _learns(entry, outputs, target)
    if not made.trainable_variables:
        raise UsageError(
            f"the model of {entry} has no weights to train: each layer has none or is frozen "
            "(trainable=False)"
        )
    return Built(made, keras.Model(samples, outputs), learns)


def takes_integers(made: KerasModel, kind: SampleKind) -> bool | None:
    """Whether a model is to be given integers as such, and not as float32; None to try it.

    As its input says; else a model that looks things up by their numbers is given these.
    """
    import keras

    if inputs := getattr(made, "inputs", None):
        return "int" in inputs[0].dtype
    layers = keras.layers
    lookups = (
        *(layers.Embedding, layers.CategoryEncoding, layers.Hashing),
        *(layers.HashedCrossing, layers.IntegerLookup),
    )
    if any(isinstance(layer, lookups) for layer in made._flatten_layers()):
        return True
    return None if kind == "tokens" and type(made) is not keras.Sequential else False


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


def _check_batches(entry: str, made: KerasModel) -> None:
    """Refuse what ties one batch to the next, or to a size: the last of an epoch has another."""
    for layer in made._flatten_layers():  # Keras gives those inside of layers in no other way
        if getattr(layer, "stateful", False):
            raise UsageError(
                f"layer {layer.name!r} of {entry} carries its state from one batch to the next, "
                "and samples of a batch are drawn at random here: leave stateful=True out"
            )
    size = (getattr(made, "inputs", None) or [None])[0]
    if size is not None and size.shape[0] is not None:
        raise UsageError(
            f"the model of {entry} takes batches of {size.shape[0]} samples and no others, and the "
            "last batch of an epoch is smaller: leave the size out, keras.Input(input_shape)"
        )


def _check_steps(module: UserModule, made: KerasModel) -> None:
    """Refuse a model that changes how it is trained, since actions have a loop of their own."""
    for name in _STEPS_OF_FIT:
        method = getattr(made, name, None)
        if not str(getattr(method, "__module__", "keras.")).startswith("keras."):
            raise UsageError(
                f"{module.place_of_code(method)}: {name} of {type(made).__name__} would not be "
                "called, since training here is no fit(): write a loss beside the function, def "
                "loss(y_true, y_pred), penalties with add_loss in call, changes of samples as def "
                f"augment(x, y), and metrics = […]; then leave {name} out"
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


def _learns(entry: str, outputs: KerasTensor, target: TargetSpec) -> Target:
    if isinstance(outputs, list | tuple | dict):
        raise UsageError(
            f"the model of {entry} gives {a_kind(outputs)} of {len(outputs)}, and "
            "one output is needed, by itself"
        )
    return learnt(entry, tuple(outputs.shape)[1:], target)


def ends_in_probabilities(built: Built) -> bool:
    """Whether the last layer is a softmax or, for one output, a sigmoid."""
    layer = built.made
    while inner := (getattr(layer, "operations", None) or getattr(layer, "layers", None)):
        layer = inner[-1]
    activation = getattr(layer, "activation", None)
    names = {type(layer).__name__.lower(), getattr(activation, "__name__", "")}
    return ("sigmoid" if built.learns == "binary" else "softmax") in names


def optimizer_of(module: UserModule, chosen: OptimizerSpec) -> str | KerasOptimizer:
    """The optimizer that is described: its name, or a new one of those beside the user's function.

    Raises:
        UsageError: what stands beside the user's function is no optimizer.
    """
    return (own_optimizer(module) if chosen.beside_code else None) or chosen.name


def own_optimizer(module: UserModule) -> str | Any | None:
    """The optimizer beside the user's function: a name that Keras knows, or a new Keras optimizer.

    Raises:
        UsageError: what stands there is neither.
    """
    import keras

    found = module.attribute("optimizer")
    if found is None:
        return None
    where = module.place_of("optimizer")
    if callable(found) and not isinstance(found, keras.optimizers.Optimizer):
        found = module.guarded(found)
    if isinstance(found, str):
        try:
            keras.optimizers.get(found)
        except ValueError:
            raise UsageError(f"{where}: Keras has no optimizer {found!r}") from None
        return found
    if not isinstance(found, keras.optimizers.Optimizer):
        raise UsageError(
            f"{where}: optimizer must be a name or a function that returns a Keras "
            f"optimizer, not {a_kind(found)}"
        )
    if found.built:
        # It belongs to the variables that it was built for.
        raise UsageError(
            f"{where}: this optimizer has been built for a model already; write def optimizer(): "
            "and return a new one"
        )
    return found


def describe_optimizer(module: UserModule) -> OptimizerSpec:
    """What trains the model where no other is asked for. Raises as `own_optimizer`."""
    optimizer = own_optimizer(module)
    if optimizer is None:
        return OptimizerSpec(name=DEFAULT_OPTIMIZER)
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return OptimizerSpec(
        name=optimizer if isinstance(optimizer, str) else type(optimizer).__name__.lower(),
        beside_code=True,
        has_schedule=callable(getattr(inner, "_learning_rate", None)),
    )


def _recipe(module: UserModule, built: Built, spec: ModelSpec) -> KerasRecipe:
    recipe = recipe_for(built.learns, probabilities=spec.gives_probabilities)
    loss = own_loss(module, built.learns)
    metrics = {name: mean_of(metric) for name, metric in own_metrics(module, built.learns)}
    return replace(
        recipe,
        loss=recipe.loss if loss is None else mean_of(loss),
        loss_is_sum=loss_is_sum(loss),
        weigh=weights_of(loss),
        cuts=spec.by_sample,
        label_shape=spec.target.shape,
        adds_axis=_adds_axis(built, spec),
        metrics={**recipe.metrics, **metrics},
        augment=function_beside(module, "augment"),
        exported=exported(built, spec),
    )


def _adds_axis(built: Built, spec: ModelSpec) -> bool:
    return len(built.model.output_shape) - 1 > len(spec.target.shape)


def exported(built: Built, spec: ModelSpec) -> KerasModel:
    """The model as it is saved: preprocessing included, to a probability a class or a number."""
    import keras

    outputs = built.model.outputs[0]
    # Layers, since operations lose a mask; none that takes one, as Softmax does, for its classes.
    layers, kept = keras.layers, {"dtype": outputs.dtype}
    if built.learns == "class" and not spec.gives_probabilities:
        outputs = layers.Activation("softmax", **kept)(outputs)
    elif built.learns == "binary":
        chance = (
            outputs if spec.gives_probabilities else layers.Activation("sigmoid", **kept)(outputs)
        )
        if not _adds_axis(built, spec):
            chance = keras.ops.expand_dims(chance, -1)
        other = layers.Rescaling(-1.0, offset=1.0, **kept)(chance)
        outputs = layers.Concatenate(**kept)([other, chance])
    return keras.Model(built.model.inputs[0], outputs)

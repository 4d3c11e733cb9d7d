"""Try out the user's own Keras model, and say what it is. Imports Keras when called."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from disdel.errors import UsageError
from disdel.models.keras_made import KerasNetwork
from disdel.models.user.bundled import (
    function_beside,
    loss_spec,
    preprocessing_of,
)
from disdel.models.user.keras_draws import other_draws
from disdel.models.user.keras_losses import own_loss
from disdel.models.user.keras_model import (
    Built,
    built_of,
    called,
    describe_optimizer,
    ends_in_probabilities,
    network_of,
    takes_integers,
)
from disdel.models.user.trial import (
    Trial,
    adds_up,
    is_alike,
    labels_for_losses,
    look_like_probabilities,
)
from disdel.protocol.description import DescribeReply, DescribeRequest
from disdel.runtimes.base import Trainer
from disdel.runtimes.keras.masks import mask_of, masked
from disdel.runtimes.keras.recipe import KerasRecipe
from disdel.runtimes.keras.trainer import KerasTrainer, pin_threads
from disdel.runtimes.steps_tried import FirstStep
from disdel.types.arrays import Array
from disdel.types.names import Precision
from disdel.types.specs import ModelFacts, ModelSpec, TriedSteps
from disdel.user_code.module import UserModule


def describe(module: UserModule, request: DescribeRequest) -> DescribeReply:
    """The network that `request` names.

    Raises:
        UsageError: it cannot be built, trained or saved; the message shows the user's own line.
    """
    with suppress(RuntimeError):  # The user's file may have computed something already.
        pin_threads(1)  # `FirstStep` measures one.
    trial = Trial.read(request)
    built = _built(module, request)
    try:
        calls = _calls_of(built)
    except Exception:
        # As in `_try_out`: what fails in a graph is told better step by step.
        _outputs(module, built, trial.few())
        raise
    facts = _facts(built, calls, request.features[0].shape)
    probabilities = ends_in_probabilities(built) or (
        built.learns == "class" and look_like_probabilities(_outputs(module, built, trial.few()))
    )
    spec = ModelSpec(
        name=request.code.entry,
        features=request.features,
        targets=request.targets,
        learns=built.learns,
        gives_probabilities=probabilities,
        takes_integers=_dtype_of(built) != "float32",
        facts=facts,
        default_optimizer=describe_optimizer(module),
        loss=loss_spec(own_loss(module, built.learns), built.learns),
        preprocessing=preprocessing_of(module),
        augments=function_beside(module, "augment") is not None,
        code=request.code,
        home="tensorflow",
    )
    network = network_of(module, built, spec)
    if not _is_by_sample(module, network, trial, built, request.targets[0].classes):
        spec = replace(spec, by_sample=False)
        network = network_of(module, built, spec)
    batch = trial.batch(facts.activations)
    has_loops, steps = _try_out(module, network, spec, batch, request.precision)
    metrics = tuple(network.recipe.metrics)
    described = replace(spec, metrics=metrics, has_loops=has_loops)
    return DescribeReply(model=described, steps=steps)


def _built(module: UserModule, request: DescribeRequest) -> Built:
    """The model, to which integers are given as such if it takes them so.

    Raises:
        UsageError: as `build_own`.
    """
    [samples], [target] = request.features, request.targets
    made = called(module, samples.shape, target)
    stored = samples.dtype
    wanted = takes_integers(made, samples.kind) if stored in ("int32", "int64") else False
    about = (module, made, samples.shape, target)
    if wanted is not None:
        return built_of(*about, stored if wanted else "float32")
    try:
        return built_of(*about, stored)
    except UsageError:
        return built_of(*about, "float32")


def _dtype_of(built: Built) -> str:
    """What its samples are given as."""
    return str(built.model.inputs[0].dtype)


def _outputs(module: UserModule, built: Built, x: Array) -> NDArray[np.float32]:
    """What the model gives for samples as stored."""
    return module.guarded(
        lambda: np.asarray(built.model(x.astype(_dtype_of(built)), training=False), np.float32)
    )


def _is_by_sample(
    module: UserModule, network: KerasNetwork, trial: Trial, built: Built, classes: int
) -> bool:
    """Whether outputs and loss of a batch are made of those of its samples."""

    def outputs(x: Array) -> Any:
        return module.guarded(lambda: built.model(x.astype(_dtype_of(built)), training=False))

    given = outputs(trial.few())
    try:
        alone = outputs(trial.few()[:1])
    except UsageError:
        return False  # It has no single samples.
    if not is_alike(np.asarray(alone, np.float32), np.asarray(given[:1], np.float32)):
        return False
    # The usual ones are.
    if module.attribute("loss") is None:
        return True
    return _is_made_of_parts(network.recipe, given, labels_for_losses(trial.y, classes))


def _is_made_of_parts(recipe: KerasRecipe, outputs: Any, y: Array) -> bool:
    """Whether a batch's loss is made of those of its samples, each by what it counts.

    Args:
        recipe: of the loss.
        outputs: what the model gives for some samples.
        y: labels as stored, of as many samples as wanted; the outputs are taken in turn for them.
    """
    import tensorflow as tf

    mask, given = mask_of(outputs), np.arange(len(y)) % len(outputs)

    def loss(at: Any) -> tuple[float, Any]:
        held = None if mask is None else tf.gather(mask, given[at])
        labels = tf.constant(y[at])
        of_these = masked(tf.gather(outputs, given[at]), held)
        loss = recipe.loss(recipe.wanted(labels), of_these)
        return float(loss), recipe.weights(labels, held)

    try:
        whole, weights = loss(slice(None))
        parts = [loss(slice(i, i + 1)) for i in range(len(y))]
        shares = [float(recipe.share(part, weights)) for _, part in parts]
    except Exception:
        return False  # It has no single samples.
    return adds_up(whole, [part for part, _ in parts], shares)


def _try_out(
    module: UserModule, network: KerasNetwork, spec: ModelSpec, trial: Trial, precision: Precision
) -> tuple[bool, TriedSteps]:
    """Train a step, score and save, as an action would.

    Returns:
        Whether conditions and loops of Python's own depend on values: without being converted they
        fail, whose conversion else takes most of the time that a graph does. And what steps took.

    Raises:
        UsageError: one of these failed.
    """
    import tensorflow as tf

    trainer = KerasTrainer(
        network.model,
        optimizer=network.optimizer(spec.default_optimizer),
        learning_rate=None,
        input_dtype=spec.input_dtype,
        recipe=network.recipe,
        converts=False,
        precision=precision,
    )

    def once() -> FirstStep:
        first = FirstStep(trainer, trial.x, trial.y)
        trainer.score(trial.x, trial.y)
        return first

    has_loops = False
    try:
        first = once()
    except Exception:
        has_loops = True
        trainer.convert_loops(True)
        try:
            first = once()
        except Exception:
            # A graph's errors name generated code; step by step, they name the user's own line.
            tf.config.run_functions_eagerly(True)
            try:
                module.guarded(once)
            finally:
                tf.config.run_functions_eagerly(False)
            first = module.guarded(once)
    if drawn := other_draws(trainer.graphs()):
        raise UsageError(
            f"{module.code.entry} draws random numbers by TensorFlow's {', '.join(drawn)}, as "
            "tf.random, tf.nn.dropout and tf.image.random_… do, and no seed of a run repeats them: "
            "draw by keras.random or layers of Keras, or by tf.random.stateless_… with a seed from "
            "keras.random.SeedGenerator().next()"
        )
    steps = module.guarded(first.followed)
    _save(module, trainer)
    return has_loops, steps


def _save(module: UserModule, trainer: Trainer) -> None:
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            trainer.save_model(path)
            keras.saving.load_model(path, custom_objects=module.definitions(), compile=False)
        except Exception as error:
            # Keras wraps what went wrong in one message a level; the innermost ends the text.
            said = str(error).strip().splitlines()[-1] if str(error) else type(error).__name__
            raise UsageError(
                f"the model cannot be saved and loaded again: {said}\n"
                "A layer or model of your own takes **kwargs and passes them to super().__init__, "
                "and returns its other arguments from get_config"
            ) from error


# Floats that a step of a recurrent layer keeps for each of its units and gates: docs/scheduler.md.
_KEPT_A_GATE = 3


@dataclass(slots=True)
class _Calls:
    """What went in and out of every layer that has no layers inside, in the order of the calls.

    And what a softmax beside them gave: scores of attention, of each pair of positions.
    """

    seen: list[tuple[Any, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    scores: list[int] = field(default_factory=list)


def _calls_of(built: Built) -> _Calls:
    """The layers that a batch of whatever size goes through, and nothing is computed."""
    import tensorflow as tf

    batch = tf.TensorSpec((None, *built.model.input_shape[1:]), _dtype_of(built))
    with _calls() as calls:
        traced = tf.function(lambda x: built.model(x, training=False)).get_concrete_function(batch)
    shapes = [
        operation.outputs[0].shape.as_list()[1:]
        for operation in traced.graph.get_operations()
        if operation.type == "Softmax"
    ]
    outputs = [output[1:] for _, _, output in calls.seen]
    calls.scores += [math.prod(s) for s in shapes if None not in s and tuple(s) not in outputs]
    return calls


@contextmanager
def _calls() -> Iterator[_Calls]:
    """Note the layers that are called inside."""
    import keras

    calls, original = _Calls(), keras.layers.Layer.__call__

    def noting(layer: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = original(layer, *args, **kwargs)
        inner = not isinstance(layer, keras.layers.RNN) and layer._flatten_layers(
            include_self=False
        )
        if (
            args
            and hasattr(args[0], "shape")
            and hasattr(outputs, "shape")
            and not any(inner or ())
        ):
            calls.seen.append((layer, tuple(args[0].shape), tuple(outputs.shape)))
        return outputs

    keras.layers.Layer.__call__ = noting
    try:
        yield calls
    finally:
        keras.layers.Layer.__call__ = original


def _facts(built: Built, calls: _Calls, input_shape: tuple[int, ...]) -> ModelFacts:
    import keras

    parameters = sum(math.prod(v.shape) for v in built.model.trainable_variables)
    # Batch normalisation and sums need nothing of their own output for their gradients.
    light = (keras.layers.BatchNormalization, keras.layers.Add)
    sizes = [(layer, math.prod(output[1:])) for layer, _, output in calls.seen]
    kept = sum(size for layer, size in sizes if not isinstance(layer, light))
    kept += sum(
        _kept_by_steps(*call) for call in calls.seen if isinstance(call[0], keras.layers.RNN)
    )
    multiply_adds = sum(_multiply_adds(*call) for call in calls.seen)
    return ModelFacts(
        parameters=parameters,
        activations=math.prod(input_shape) + kept + sum(calls.scores),
        outputs=sum(size for _, size in sizes),
        largest=max([math.prod(input_shape), *(size for _, size in sizes), *calls.scores]),
        layers=len(sizes),
        # Of layers that keep their weights in their own way, each weight is used once.
        multiply_adds=max(multiply_adds, parameters),
        constants=sum(math.prod(v.shape) for v in built.model.non_trainable_variables),
    )


def _kept_by_steps(layer: Any, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> int:
    """What a recurrent layer keeps of one sample: of each step its input, and what gates gave."""
    units = math.prod(outputs[2:] if layer.return_sequences else outputs[1:])
    widths = [v.shape[-1] for v in layer.trainable_variables if _is_matrix(v)]
    gates = math.ceil(max(widths, default=0) / outputs[-1]) or 1
    return inputs[1] * (math.prod(inputs[2:]) + _KEPT_A_GATE * gates * units)


def _multiply_adds(layer: Any, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> int:
    """Of a layer for one sample: every weight of a matrix or kernel once a position.

    Positions are those of the smaller side, which is right for dense layers, convolutions of every
    kind and the projections of attention.
    """
    import keras

    if isinstance(layer, keras.layers.Embedding):
        return 0
    weights: int = sum(math.prod(v.shape) for v in layer.trainable_variables if _is_matrix(v))
    if isinstance(layer, keras.layers.RNN):
        return weights * inputs[1]
    return weights * min(math.prod(inputs[1:-1]), math.prod(outputs[1:-1]))


def _is_matrix(variable: Any) -> bool:
    return len(variable.shape) > 1 and variable.name != "bias"

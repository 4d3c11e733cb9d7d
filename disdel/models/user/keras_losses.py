"""Loss and metrics beside the user's own Keras model, and whether they suit what is learnt.

Imports Keras when called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from disdel.errors import UsageError
from disdel.runtimes.keras.recipe import Measure
from disdel.types.names import Target
from disdel.types.words import a_kind
from disdel.user_code.module import UserModule

# Keras ships no types.
Tensor = Any

# What `compile` takes these names for, by the target.
_BY_TARGET: dict[str, dict[Target, str]] = {
    "accuracy": {"class": "sparse_categorical_accuracy", "binary": "binary_accuracy"},
    "crossentropy": {"class": "sparse_categorical_crossentropy", "binary": "binary_crossentropy"},
}
_SHORT = {"acc": "accuracy", "ce": "crossentropy"}


def own_loss(module: UserModule, target: Target) -> Measure | None:
    """The loss beside the user's function: a Keras loss, or a function of y_true and y_pred.

    Raises:
        UsageError: what stands there is none, or one of other targets.
    """
    import keras

    found: Any = module.attribute("loss")
    if found is None:
        return None
    where = module.place_of("loss")
    if isinstance(found, str):
        try:
            found = keras.losses.get(found)
        except ValueError:
            raise UsageError(f"{where}: Keras has no loss {found!r}") from None
    if isinstance(found, type):
        found = module.guarded(found)
    if not callable(found):
        raise UsageError(
            f"{where}: loss must be a name, a Keras loss or a function of y_true and "
            f"y_pred, not {a_kind(found)}"
        )
    _check_suits(where, "loss", found, target)
    loss: Measure = found
    return loss


def loss_is_sum(loss: Measure | None) -> bool:
    """Whether a loss adds up over the batch, as a Keras loss can be told to."""
    return getattr(loss, "reduction", None) == "sum"


def weights_of(loss: Measure | None) -> Callable[[Tensor], Tensor] | None:
    """What labels count in the mean that `loss` takes, of targets, in the targets' shape.

    None where all count alike.
    """
    ignored = getattr(loss, "ignore_class", None)
    if ignored is None:
        return None

    def weights(y: Tensor) -> Tensor:
        import tensorflow as tf

        return tf.cast(y != ignored, tf.float32)

    return weights


def own_metrics(module: UserModule, target: Target) -> Iterable[tuple[str, Measure]]:
    """The metrics beside the user's function: name and function, whose mean over samples it is.

    Raises:
        UsageError: one of them is not such a mean, or one of other targets.
    """
    found = module.attribute("metrics")
    if found is None:
        return
    for metric in found if isinstance(found, list | tuple) else [found]:
        yield _metric(module, metric, target)


def _metric(module: UserModule, metric: object, target: Target) -> tuple[str, Measure]:
    """A metric that is a mean over samples; Keras's metrics of that kind give their function."""
    import keras

    known: Any = metric
    where = module.place_of("metrics")
    if isinstance(metric, str):
        name = _SHORT.get(metric, metric)
        try:
            known = keras.metrics.get(_BY_TARGET.get(name, {}).get(target, name))
        except ValueError:
            raise UsageError(f"{where}: Keras has no metric {metric!r}") from None
    elif isinstance(metric, type):
        known = module.guarded(metric)
    if inspect.isroutine(known):
        _check_suits(where, "metric", known, target)
        return known.__name__, known
    if isinstance(known, keras.metrics.MeanMetricWrapper):
        _check_suits(where, "metric", known, target)
        config = known.get_config()
        own = inspect.signature(known._fn).parameters  # Keras gives it in no other way
        settings = {name: value for name, value in config.items() if name in own}
        return known.name, lambda y, given: known._fn(y, given, **settings)
    raise UsageError(
        f"{where}: metric {metric!r} is not a mean over samples; name one that is, or "
        "give a function of y_true and y_pred"
    )


def _check_suits(where: str, what: str, measure: Any, target: Target) -> None:
    """Refuse what Keras has for one-hot rows or for several outputs, where there are none.

    Raises:
        UsageError: it does not suit the target.
    """
    kind = measure if hasattr(measure, "__name__") else type(measure)
    name, words = str(kind.__name__), str(kind.__name__).replace("_", "").lower()
    if not str(kind.__module__).startswith("keras."):
        return
    sparse, categorical = "sparse" in words, "categorical" in words
    if target == "class" and not sparse:
        suits = {"loss": "sparse_categorical_crossentropy", "metric": "sparse_categorical_accuracy"}
        raise UsageError(
            f"{where}: {what} {name} compares each output with a target, as of one-hot rows, and a "
            f"sample has one class number here: use {suits[what]!r}, or make the rows: def "
            f"{what}(y_true, y_pred), with keras.ops.one_hot(y_true, y_pred.shape[-1])"
        )
    if target != "class" and categorical:
        suits = {"binary": "'binary_crossentropy'", "number": "'mse'"}
        raise UsageError(
            f"{where}: {what} {name} takes an output for each class, and the model gives one: use "
            f"one of single outputs, such as {suits[target]}"
            + (", or give 2 outputs" if target == "binary" else "")
        )

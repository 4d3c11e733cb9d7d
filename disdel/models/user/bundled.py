"""What networks of the user's own have in common, whatever their framework."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from disdel.errors import UsageError
from disdel.types.names import USUAL_LOSSES, Preprocessing, Target
from disdel.types.specs import CodeRef, LossSpec, TargetSpec
from disdel.types.words import a_kind
from disdel.user_code.collecting import FOLDER, read_code
from disdel.user_code.module import UserModule

# Where a bundle has the user's files: beside the package `disdel`.
BUNDLED = Path(__file__).parents[3] / FOLDER


def bundled_module() -> UserModule | None:
    """The user's code in this bundle, imported; None where there is none.

    Raises:
        UsageError: this runtime lacks a package that it needs, or importing it failed.
    """
    code = read_code(BUNDLED)
    return None if code is None else module_here(code.ref)


def module_here(code: CodeRef) -> UserModule:
    """The user's code in this bundle, imported; its relative paths are of files beside it.

    Raises:
        UsageError: as `bundled_module`.
    """
    os.chdir(BUNDLED)
    return UserModule(code, BUNDLED)


def offered(input_shape: tuple[int, ...], target: TargetSpec) -> dict[str, object]:
    """What a function that makes a network may have parameters for."""
    return {
        "input_shape": input_shape,
        "classes": target.classes,
        "target_shape": target.shape,
    }


def learnt(
    entry: str, shape: tuple[int, ...], target: TargetSpec, *, classes_first: bool = False
) -> Target:
    """What a network learns of a data set, by the shape of its output for a sample.

    Args:
        entry: the function that made it.
        shape: of the output, without the batch axis.
        target: what the data set has to learn.
        classes_first: whether the axis of classes is the first, as PyTorch's losses have it; else
            it is the last.

    Raises:
        UsageError: none of its targets; the message says which shape suits.
    """
    classes, labels = target.classes, target.shape
    # One value for each label, with an axis of its own or, where there are others, without.
    alone = {(*labels, 1)}
    if labels:
        alone |= {labels, (1, *labels)} if classes_first else {labels}
    if shape in alone and classes in (0, 2):
        return "binary" if classes else "number"
    of_classes = (classes, *labels) if classes_first else (*labels, classes)
    if classes and shape == of_classes:
        return "class"
    if labels:
        raise UsageError(_unfit_axes(entry, shape, target, of_classes))
    wanted = {0: "(1,), since its targets are numbers", 2: "(2,) or (1,), since it has 2 classes"}
    suits = wanted.get(classes, f"({classes},), since it has {classes} classes")
    raise UsageError(
        f"the model of {entry} gives {shape} for a sample, and the data set needs {suits}; a "
        "function with a parameter classes is given their number"
    )


def _unfit_axes(
    entry: str, shape: tuple[int, ...], target: TargetSpec, of_classes: tuple[int, ...]
) -> str:
    """What suits a target with axes, where an output of `shape` does not."""
    labels, classes = target.shape, target.classes
    if not classes:
        needed = f"{labels}, since its targets are numbers of that shape"
    else:
        one = f" or {labels}" if classes == 2 else ""
        needed = f"{of_classes}{one}, since its targets are {labels} of {classes} classes"
    turn = ""
    if shape != of_classes and shape == (*labels, classes):
        turn = "; PyTorch's losses have the classes in the first axis of a sample: .movedim(-1, 1)"
    return (
        f"the model of {entry} gives {shape} for a sample, and the data set needs {needed}{turn}; "
        "a function with parameters classes and target_shape is given these"
    )


def function_beside(module: UserModule, name: str) -> Callable[..., Any] | None:
    """The function of that name beside the user's; None where there is none.

    Raises:
        UsageError: what stands there is no function.
    """
    found = module.attribute(name)
    if found is not None and not callable(found):
        raise UsageError(f"{module.code.entry}: {name} must be a function, not {a_kind(found)}")
    return found


def preprocessing_of(module: UserModule) -> Preprocessing:
    """What becomes of samples before the first layer of the user's network."""
    return "none" if function_beside(module, "preprocess") is None else "beside_code"


def loss_spec(loss: Any, learns: Target) -> LossSpec:
    """The description of the loss beside the user's function; None is for the usual one."""
    if loss is None:
        return LossSpec(name=USUAL_LOSSES[learns])
    names = (getattr(loss, said, None) for said in ("name", "__name__"))
    name = next((name for name in names if isinstance(name, str)), type(loss).__name__)
    return LossSpec(name=name, beside_code=True)

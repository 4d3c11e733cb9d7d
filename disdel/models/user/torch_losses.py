"""The loss beside the user's own PyTorch module, and whether it suits what is learnt.

Imports PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from disdel.errors import UsageError
from disdel.runtimes.torch.recipe import Measure
from disdel.types.names import Target
from disdel.types.words import a_kind
from disdel.user_code.module import UserModule

# Of PyTorch's losses, classes and functions, those that take class numbers, (batch,).
_OF_CLASSES = {
    *("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"),
    *("cross_entropy", "nll_loss", "multi_margin_loss"),
}
# Those that compare each output with a target of its own.
_OF_EACH_OUTPUT = {
    *("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "PoissonNLLLoss", "KLDivLoss"),
    *("BCELoss", "BCEWithLogitsLoss", "SoftMarginLoss"),
    *("MultiLabelMarginLoss", "MultiLabelSoftMarginLoss"),
    *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "kl_div"),
    *("binary_cross_entropy", "binary_cross_entropy_with_logits", "soft_margin_loss"),
    *("multilabel_margin_loss", "multilabel_soft_margin_loss"),
}


def own_loss(
    module: UserModule, target: Target, device: torch.device | str = "cpu"
) -> Measure | None:
    """The loss beside the user's function, on `device`; None where there is none.

    Raises:
        UsageError: what stands there is none, or one of other targets.
    """
    found: Any = module.attribute("loss")
    if isinstance(found, type):
        found = module.guarded(found)
    if found is None:
        return None
    where = module.place_of("loss")
    if not callable(found):
        raise UsageError(
            f"{where}: loss must be a function of outputs and targets, or one of torch.nn, not "
            f"{a_kind(found)}"
        )
    if getattr(found, "reduction", "mean") == "sum":
        raise UsageError(
            f"{where}: loss is a sum over the batch; a mean is needed, so that batches and workers "
            "weigh by their samples: reduction='mean'"
        )
    if isinstance(found, nn.Module) and any(True for _ in found.parameters()):
        raise UsageError(
            f"{where}: loss has parameters of its own, which nobody would train; put them into the "
            "module"
        )
    _check_suits(where, found, target)
    loss: Measure = found.to(device) if isinstance(found, nn.Module) else found
    return loss


def _check_suits(where: str, loss: Any, target: Target) -> None:
    kind = loss if hasattr(loss, "__name__") else type(loss)
    name = kind.__name__
    if not str(kind.__module__).startswith("torch."):
        return
    if target == "class" and name in _OF_EACH_OUTPUT:
        raise UsageError(
            f"{where}: {name} compares each output with a target, and a sample has one class "
            "number here: use nn.CrossEntropyLoss() on logits, or make one-hot rows: def "
            "loss(outputs, targets), with nn.functional.one_hot(targets, outputs.shape[1])"
        )
    if target != "class" and name in _OF_CLASSES:
        instead = "nn.BCEWithLogitsLoss()" if target == "binary" else "nn.MSELoss()"
        raise UsageError(
            f"{where}: {name} takes an output for each class, and the model gives one: use "
            f"{instead}" + (", or give 2 outputs" if target == "binary" else "")
        )


def check_is_mean(where: str, loss: Measure, outputs: Tensor, targets: Tensor) -> None:
    """Refuse a loss that adds up over the batch, by what it gives for twice the same samples.

    Args:
        where: the loss, for messages.
        loss: of a batch, as a recipe has it.
        outputs: what the module gives for some samples, shape (samples, …).
        targets: theirs, shape (samples, …).

    Raises:
        UsageError: it does.
    """
    with torch.no_grad():
        once = float(loss(outputs, targets))
        twice = float(loss(torch.cat([outputs, outputs]), torch.cat([targets, targets])))
    if once and math.isclose(twice, 2 * once, rel_tol=1e-4):
        raise UsageError(
            f"{where}: loss adds up over the batch (of twice the same samples it is {twice:g} in "
            f"place of {once:g}); a mean is needed, so that batches and workers weigh by their "
            "samples: return the mean, and multiply the learning rate instead"
        )


def weights_of(loss: Measure | None) -> Callable[[Tensor], Tensor] | None:
    """What labels count in the mean that `loss` takes, of targets, in the targets' shape.

    None where all count alike.
    """
    if not isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) or loss.reduction != "mean":
        return None
    weight, ignored = loss.weight, loss.ignore_index
    if weight is None and ignored < 0:
        return None

    def weights(y: Tensor) -> Tensor:
        each = torch.ones_like(y, dtype=torch.float32) if weight is None else weight[y.clamp_min(0)]
        return each * (y != ignored)

    return weights

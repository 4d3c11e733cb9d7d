"""What can be wrong with a PyTorch module of the user's own, and what each is refused with."""

import sys

import pytest

from disdel.errors import UsageError
from disdel.models.user.describe import describe
from tests.support.torch_nets import LOGITS, ONE, forward, make

pytestmark = pytest.mark.framework


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torch\ndef make(): return None", "make returned None, where a torch.nn.Module is"),
        ("import torch\ndef other(): pass", r"has no function 'make'; it has other"),
        (
            "import torch\ndef make():\n    raise ValueError('no luck')",
            r"net.py, line 3, `raise ValueError\('no luck'\)`: ValueError: no luck",
        ),
        (make("nn.Linear(4, 7)"), r"gives \(7,\) for a sample, and the data set needs \(3,\)"),
        (make(ONE), r"gives \(1,\) for a sample, and the data set needs \(3,\)"),
        (forward("self.dense(x)[:, 0]"), r"gives \(\) for a sample, and the data set needs \(3,\)"),
        (forward("self.dense(x).sum()"), r"tensor of shape \(\) for 2 samples; its first axis"),
        (make("nn.EmbeddingBag(9, 3)"), "FloatTensor .*; the samples are float32: .* x.long"),
        (make("nn.Linear(5, classes)"), r"net.py:make: RuntimeError: mat1 and mat2"),
        (
            forward("self.dense(x)").replace("forward(self, x)", "forward(self, x, mask)"),
            r"has 2 inputs \(x, mask\), and a data set has one",
        ),
        (forward("(self.dense(x), x)"), "gives a tuple of 2, and one output is needed"),
        (forward("{'o': self.dense(x)}"), "gives a dict of 1, and one output is needed"),
        (forward("self.dence(x)"), r"`return self.dence\(x\)`: AttributeError.*'dence'"),
        (forward("x[:, :3]").replace("self.dense = nn.Linear(4, 3)", "pass"), "no parameters to"),
        (make(LOGITS).replace("return ", "return 2 * [0] or "), "returned a list, where a torch"),
        (
            forward("self.dense(x)", "3, dtype=torch.bfloat16"),
            r"dense.weight of .* is torch.bfloat16, which cannot be averaged; call .float\(\)",
        ),
        (
            forward("self.dense(x)", "3, dtype=torch.cfloat"),
            r"dense.weight of .* is complex .*torch.view_as_real.*as_complex\(self.weight\)",
        ),
        (
            forward("self.dense(x)", "3, device='meta'"),
            "dense.weight of .* is on the device meta; return the module on the CPU",
        ),
        (
            forward("self.dense(x)") + "Net.get_extra_state = lambda self: 3\n"
            "Net.set_extra_state = lambda self, state: None\n",
            "_extra_state of .* is an int and not a tensor",
        ),
        (make(LOGITS, head="loss = 'mse'"), "loss must be a function of outputs and .* st"),
        (make(LOGITS, head="loss = nn.CrossEntropyLoss(reduction='sum')"), "a mean is needed"),
        (
            make(LOGITS, head="def loss(o, t): return F.cross_entropy(o, t, reduction='sum')"),
            r"loss adds up over the batch .* return the mean, and multiply the learning rate",
        ),
        (
            make(LOGITS, head="class loss(nn.Linear):\n"
                 "    def __init__(self): super().__init__(1, 1)\n"),
            "loss has parameters of its own",
        ),
        (
            make(LOGITS, head="def loss(outputs, targets):\n    return outputs.nothing\n"),
            r"net.py, line 6, `return outputs.nothing`: AttributeError",
        ),
        (make(LOGITS, head="optimizer = 'ftrl'"), r"no optimizer 'ftrl'; known: adam, .* def op"),
        (make(LOGITS, head="optimizer = 3"), "optimizer must be a name, or .* not an int"),
        (make(LOGITS, head="def optimizer(p): return 3"), "optimizer returned an int, where one"),
        (
            make(LOGITS, head="optimizer = torch.optim.LBFGS"),
            r"torch.optim.lbfgs.LBFGS cannot be used; of torch.optim, SGD, Adam, AdamW, RMSprop,",
        ),
        (
            make(LOGITS, head="def optimizer(p): return torch.optim.SGD([torch.zeros(1)], lr=1)"),
            "updates parameters that are not trainable ones of the module",
        ),
        (
            make(LOGITS, head="def optimizer(p):\n    made = torch.optim.SGD(p)\n"
                 "    torch.optim.lr_scheduler.StepLR(made, 3)\n    return made\n"),
            r"net.py, line 5, `def optimizer\(p\):`: a learning-rate scheduler .* --schedule",
        ),
        (
            make(LOGITS, head="def optimizer(p):\n    made = torch.optim.SGD(p)\n"
                 "    return made, torch.optim.lr_scheduler.StepLR(made, 3)\n"),
            "optimizer returned a tuple, .* in place of a scheduler use --schedule",
        ),
        (
            make(LOGITS, head="def optimizer(p):\n    made = torch.optim.SGD(p)\n"
                 "    made.register_step_pre_hook(print)\n    return made\n"),
            "the optimizer has hooks around its step",
        ),
        (
            make(LOGITS, head="def optimizer(p):\n    made = torch.optim.SGD(p, momentum=0.5)\n"
                 "    p[0].grad = torch.ones_like(p[0])\n    made.step()\n    return made\n"),
            "the optimizer has made steps already",
        ),
        (
            make("nn.EmbeddingBag(9, 3, sparse=True)", head="optimizer = torch.optim.Adam\n"
                 "def preprocess(x): return x.clamp(0, 8).long()"),
            "gradient of 0.weight is sparse, .* use SGD or Adagrad",
        ),
        (
            make(LOGITS, "nn.Dropout()").replace("return ", "made = ")
            + "    made[1].eval()\n    return made\n",
            r"1 of .*:make is in eval mode, .* call self.1.eval\(\) after super",
        ),
        (
            make(LOGITS).replace("return ", "return torch.optim.swa_utils.AveragedModel(") + ")",
            "returned an AveragedModel, whose average nobody would update",
        ),
        (
            make(LOGITS, head="loss = nn.MSELoss()"),
            r"net.py, line 5, `loss = nn.MSELoss\(\)`: MSELoss compares .* nn.CrossEntropyLoss",
        ),
        (make(LOGITS, head="loss = F.binary_cross_entropy"), "binary_cross_entropy compares each"),
        (make(LOGITS, head="metrics = ['accuracy']"), "metric 'accuracy' must be a function"),
        (make(LOGITS, head="augment = 3"), "augment must be a function, not an int"),
        (
            make(LOGITS, head="def augment(x, y): return x[:, :2], y"),
            r"augment gave samples of shape \(8, 2\).* shapes must stay",
        ),
        (
            make(LOGITS, head="def preprocess(x):\n    return x.nothing()\n"),
            r"net.py, line 6, `return x.nothing\(\)`: AttributeError",
        ),
        (
            make(LOGITS, head="requirements = ['no-such-thing>=3']"),
            "requires no-such-thing>=3, and no-such-thing is not installed",
        ),
        ("import torch, no_such_package\n", "this runtime lacks the package no_such_package"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_runs(requested, text, message):
    with pytest.raises(UsageError, match=message):
        describe(requested(text))


@pytest.mark.parametrize(("classes", "instead"), [(2, "BCEWithLogitsLoss"), (0, "MSELoss")])
def test_a_loss_of_classes_is_refused_for_one_output(requested, classes, instead):
    text = make("nn.Linear(4, 1)", head="loss = nn.CrossEntropyLoss()")
    with pytest.raises(UsageError, match=f"takes an output for each class, .* use nn.{instead}"):
        describe(requested(text, classes=classes))


def test_without_pytorch_the_message_says_what_to_install(requested, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=r"torch is not installed: pip install 'disdel\[torch\]'"):
        describe(requested(make(LOGITS)))

"""The user's own models that cannot be compiled: `python -m tests.support.own_compiled`.

That is a process with Keras on JAX, and prints what each is refused with.
"""

import json
import sys
import tempfile
from pathlib import Path

from disdel.errors import DisdelError
from disdel.types import OptimizerSpec
from disdel.user_code.collecting import collect
from tests.support.specs import own_model

SHAPE = (4,)
CLASSES = 3


def make(*layers, head=""):
    """The text of a file whose `make` stacks `layers`."""
    return f"""
import keras
from keras import layers, ops
{head}
def make(input_shape, classes):
    return keras.Sequential([keras.Input(input_shape), {", ".join(layers)}])
"""


def beside(head):
    return make("layers.Dense(classes)", head=head)


def returning(text):
    return f"""
import keras
from keras import layers

def make(input_shape, classes):
    {text}
"""


# Text of a file, and what its refusal says in this order.
REFUSED = {
    "tensorflow": (
        "import tensorflow as tf\n" + beside(""),
        ("net.py, line 1, `import tensorflow as tf`", "net.py:make", "--runtime tensorflow"),
    ),
    "tensorflow in the function": (
        returning("from tensorflow import nn"),
        ("net.py, line 6", "tensorflow has no part", "net.py:make", "--runtime tensorflow"),
    ),
    "lambda": (
        make("layers.Lambda(lambda x: x * 2, name='twice')", "layers.Dense(classes)"),
        ("layer 'twice' (Lambda) cannot be compiled", "--runtime tensorflow"),
    ),
    "layer": (
        make("Own(classes, name='mine')", head="class Own(layers.Dense): pass"),
        ("layer 'mine' (Own) cannot be compiled", "--runtime tensorflow"),
    ),
    "recurrent": (
        make("layers.Reshape((2, 2))", "layers.GRU(3, name='gates')"),
        ("layer 'gates' (GRU) cannot be compiled", "--runtime tensorflow"),
    ),
    "subclass": (
        """
import keras
class Net(keras.Model):
    def __init__(self, classes):
        super().__init__()
        self.dense = keras.layers.Dense(classes)
    def call(self, x):
        return self.dense(x)
def make(classes):
    return Net(classes)
""",
        ("(Net) cannot be compiled", "--runtime tensorflow"),
    ),
    "subclass with a graph": (
        """
import keras
class Net(keras.Model):
    def call(self, x):
        return 2 * super().call(x)
def make(input_shape, classes):
    x = keras.Input(input_shape)
    return Net(x, keras.layers.Dense(classes)(x))
""",
        ("(Net) cannot be compiled", "--runtime tensorflow"),
    ),
    "weights": (
        returning(
            "net = keras.Sequential([keras.Input(input_shape), layers.Dense(classes)])\n"
            "    net.set_weights([0 * weight for weight in net.get_weights()])\n"
            "    return net"
        ),
        ("net.py:make gives", "kernel a value", "use an initializer", "--runtime tensorflow"),
    ),
    "weights outside of a scope": (
        returning(
            "keras.utils.clear_session()\n"
            "    return keras.Sequential([keras.Input(input_shape), layers.Dense(classes)])"
        ),
        ("leave keras.utils.clear_session out",),
    ),
    "precision": (
        make("layers.Dense(classes, dtype='mixed_bfloat16')"),
        ("(Dense) cannot be compiled with compute_dtype='bfloat16': use 'float32'",),
    ),
    "adapted": (
        returning(
            "dense = layers.Dense(classes)\n"
            "    net = keras.Sequential([keras.Input(input_shape), dense])\n"
            "    dense.enable_lora(2)\n"
            "    return net"
        ),
        ("as of layers with enable_lora", "--runtime tensorflow"),
    ),
    "augment": (
        beside("def augment(x, y): return x, y"),
        ("net.py:make: augment has no place in a compiled step", "--runtime tensorflow"),
    ),
    "mean": (
        beside("def loss(y, p): return ops.mean(ops.square(p[:, 0] - 1))"),
        ("loss gives () for 8 samples", "return a value for each"),
    ),
    "mean metric": (
        beside("def metrics(y, p): return ops.mean(p)"),
        ("metric metrics gives () for 8 samples",),
    ),
    "sum": (
        beside("loss = keras.losses.SparseCategoricalCrossentropy(reduction='sum')"),
        ("takes the mean of sparse_categorical_crossentropy", "reduction='sum'"),
    ),
    "ignored": (
        beside("loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=1)"),
        ("takes the mean of sparse_categorical_crossentropy", "ignore_class"),
    ),
    "loss": (
        beside("def loss(y, p): return ops.mean(p[y > 0])"),
        ("net.py, line 4, `def loss(y, p):", "NonConcrete", "--runtime tensorflow"),
    ),
    "operation": (
        """
import keras
from keras import layers, ops
def make(input_shape, classes):
    x = given = keras.Input(input_shape)
    x = ops.max_pool(ops.reshape(x, (-1, 2, 2, 1)), 2)
    return keras.Model(given, layers.Dense(classes)(layers.Flatten()(x)))
""",
        ("net.py:make: TypeError: ", "MaxPool.call()", "--runtime tensorflow"),
    ),
    "optimizer": (
        beside("optimizer = 'ftrl'"),
        ("optimizer Ftrl cannot be compiled", "use one of Keras's adam,"),
    ),
    "optimizer of one's own": (
        beside("class Adam(keras.optimizers.Adam): pass\noptimizer = Adam()"),
        ("optimizer Adam cannot be compiled",),
    ),
    "schedule": (
        beside(
            "def optimizer():\n"
            "    return keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9))"
        ),
        ("learning rate follows a schedule", "--schedule and --warmup"),
    ),
    "rate of a function": (
        beside("def optimizer(): return keras.optimizers.SGD(lambda: 0.1)"),
        ("learning rate follows a schedule or a function", "give it a number"),
    ),
    "loss that is called otherwise": (
        beside(
            "class Own(keras.losses.Loss):\n"
            "    def call(self, y, p): return p[:, 0]\n"
            "    def __call__(self, y, p, sample_weight=None): return ops.mean(p[:, 0]) * 2\n"
            "loss = Own()"
        ),
        ("a compiled step has own", "and not by a __call__ of its own", "--runtime tensorflow"),
    ),
    "average": (
        beside("optimizer = keras.optimizers.SGD(use_ema=True)"),
        ("an optimizer with use_ema cannot be compiled",),
    ),
}


def refusal(text):
    """What an own model is refused with; None where it is compiled."""
    from disdel.compiler import CompileJob
    from disdel.compiler.keras_file import write_template
    from disdel.compiler.own import own_network
    from disdel.compiler.steps import Steps

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "net.py").write_text(text)
        code = collect(f"{folder}/net.py:make").ref
        spec = own_model(
            input_shape=SHAPE,
            input_dtype="float32",
            classes=CLASSES,
            code=code,
            home="tensorflow",
            default_optimizer=OptimizerSpec(name="adam", beside_code=True),
        )
        job = CompileJob(
            model=spec, input_dtype="float32", batch_size=8, optimizer=None, targets=("host",)
        )
        try:
            network = own_network(job, code, Path(folder))
            steps = Steps(network, input_dtype=job.input_dtype)
            steps.train_text(8, wide=True)
            steps.score_text(8, wide=True)
            write_template(network.saved, Path(folder) / "model.keras")
        except DisdelError as error:
            return str(error)
    return None


def main():
    from disdel.compiler.__main__ import hide

    hide(("tensorflow", "torch"))
    answers = {name: refusal(text) for name, (text, _) in REFUSED.items()}
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()

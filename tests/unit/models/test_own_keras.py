"""Keras models of the user's own: built once, tried out, and what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest

from disdel.errors import UsageError
from disdel.models import built_in
from disdel.models.user.describe import describe
from disdel.types import OptimizerSpec
from disdel.user_code.module import UserModule
from tests.support.own_keras import own_trainer

pytestmark = [
    pytest.mark.framework,
    # Keras's own, when it saves, and before it calls a model that fails.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Layer 'net.* looks like:UserWarning"),
    pytest.mark.filterwarnings("ignore:.build... was called on layer:UserWarning"),
]


def make(*layers, head=""):
    """The text of a file whose `make` stacks `layers`."""
    return f"""
import keras
from keras import layers, ops
{head}
def make(input_shape, classes):
    return keras.Sequential([keras.Input(input_shape), {", ".join(layers)}])
"""


SOFTMAX = "layers.Dense(classes, activation='softmax')"
ONE = "layers.Dense(1)"
SUBCLASS = """
import keras
class Net(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(3)
    def call(self, x, training=False):
        return {}
def make(): return Net()
"""


@pytest.fixture
def trainer(requested):
    """The trainer of such a text, as an action builds it; without a step taken."""

    def trainer(text, *, probabilities, learning_rate=None, **shapes):
        import keras

        request = requested(text, **shapes)
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        module = UserModule(request.code, Path(request.folder))
        return own_trainer(
            module,
            input_shape=request.features[0].shape,
            classes=request.targets[0].classes,
            gives_probabilities=probabilities,
            learning_rate=learning_rate,
            input_dtype=request.features[0].dtype,
            precision=request.precision,
        )

    return trainer


@pytest.mark.parametrize(
    ("text", "classes", "target", "probabilities"),
    [
        (make(SOFTMAX), 3, "class", True),
        (make("layers.Dense(classes)"), 3, "class", False),
        (make("layers.Dense(classes)", "layers.Softmax()"), 3, "class", True),
        (make("layers.Dense(classes)", "layers.Activation('softmax')"), 2, "class", True),
        (make("layers.Dense(1, activation='sigmoid')"), 2, "binary", True),
        (make(ONE), 2, "binary", False),
        (make(ONE), 0, "number", False),
        (SUBCLASS.format("self.dense(x)"), 3, "class", False),
        (SUBCLASS.format("keras.ops.softmax(self.dense(x))"), 3, "class", True),
    ],
)
def test_the_last_layer_tells_what_is_learnt(requested, text, classes, target, probabilities):
    reply = describe(requested(text, classes=classes))
    assert (reply.model.learns, reply.model.gives_probabilities) == (target, probabilities)


def test_the_example_of_the_docs_is_a_model(requested):
    text = Path("docs/models.md").read_text().split("```python\n# net.py\n")[1].split("```")[0]
    own = describe(requested(text, input_shape=(8, 8, 1), classes=10, input_dtype="uint8")).model
    assert own.default_optimizer.name == "adamw"
    assert own.gives_probabilities
    assert own.code.requirements == ("keras>=3.5",)


def test_sizes_are_those_of_the_built_in_networks(requested):
    cnn = make("layers.Conv2D(32, 3, activation='relu')", "layers.MaxPool2D()", "layers.Flatten()",
               "layers.Dense(128, activation='relu')", SOFTMAX)  # fmt: skip
    reply = describe(requested(cnn, input_shape=(12, 12, 3), classes=7, input_dtype="uint8"))
    assert reply.model.facts == built_in("cnn", input_shape=(12, 12, 3), classes=7).facts


def test_weights_that_do_not_train_are_told_apart(requested):
    text = make("layers.Dense(50, trainable=False)", "layers.BatchNormalization()", SOFTMAX)
    facts = describe(requested(text)).model.facts
    assert (facts.parameters, facts.constants) == (2 * 50 + 50 * 3 + 3, 4 * 50 + 50 + 2 * 50)


@pytest.mark.parametrize("sequences", [False, True])
def test_recurrent_layers_keep_what_each_step_did(requested, sequences):
    """Of a sequence 6 long, for two GRUs of 5 units and three gates each."""
    layer = f"layers.Bidirectional(layers.GRU(5, return_sequences={sequences}))"
    last = ["layers.Flatten()"] if sequences else []
    facts = describe(requested(make(layer, *last, SOFTMAX), input_shape=(6, 8))).model.facts
    outputs = 2 * 5 * (6 if sequences else 1)
    beside = 6 * 8 + outputs * (2 if sequences else 1) + 3
    assert facts.activations == beside + 2 * 6 * (8 + 3 * 3 * 5)


def test_multiply_adds_of_other_layers(requested):
    attention = """
import keras
def make():
    x = keras.Input((6, 8))
    y = keras.layers.MultiHeadAttention(num_heads=2, key_dim=5)(x, x)
    y = keras.layers.GRU(4)(y)
    return keras.Model(x, keras.layers.Dense(3)(y))
"""
    facts = describe(requested(attention, input_shape=(6, 8))).model.facts
    assert facts.largest == 2 * 6 * 6  # scores
    projections = 6 * (3 * 8 * 10 + 10 * 8)
    assert facts.multiply_adds == projections + 6 * (8 * 12 + 4 * 12) + 4 * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def make(): return None",
            "net.py:make returned None, where an uncompiled keras.Model or a torch.nn.Module is",
        ),
        (
            "import keras\ndef make(): return [1]",
            "returned a list, where an uncompiled keras.Model is needed",
        ),
        (
            make(SOFTMAX).replace("return ", "model = ") + "    model.compile()\n    return model",
            r"returned a compiled model; return it uncompiled, .* beside the function: loss = …",
        ),
        (make("layers.Dense(7)"), r"gives \(7,\) for a sample, and the data set needs \(3,\)"),
        (make(ONE), r"gives \(1,\) for a sample, and the data set needs \(3,\)"),
        (
            make(SOFTMAX).replace("Input(input_shape)", "Input((9,))"),
            r"takes samples of shape \(9,\), and the data set has \(4,\)",
        ),
        (
            "import keras\ndef make():\n    a, b = keras.Input((4,)), keras.Input((4,))\n"
            "    return keras.Model([a, b], keras.layers.Add()([a, b]))",
            "has 2 inputs, and a data set has one",
        ),
        (
            "import keras\ndef make():\n    a = keras.Input((4,))\n"
            "    return keras.Model(a, [keras.layers.Dense(3)(a), a])",
            "gives a list of 2, and one output is needed",
        ),
        (make("layers.Dens(3)"), r"net.py, line 6, .*AttributeError.*Dens"),
        (SUBCLASS.format("self.dence(x)"), r"(?s)`return self.dence.*has no attribute 'dence'"),
        (
            SUBCLASS.format("self.dense(x)").replace("**kwargs", ""),
            r"saved and loaded again: .*__init__\(\) got an unexpected .*\n.*takes \*\*kwargs and",
        ),
        (make(SOFTMAX, head="loss = 'no such'"), "Keras has no loss 'no such'"),
        (make(SOFTMAX, head="loss = 7"), "loss must be a name, .* not an int"),
        (
            make(SOFTMAX, head="def loss(y_true, y_pred):\n    return y_pred.nothing\n"),
            r"net.py, line 5, `return y_pred.nothing`: AttributeError",
        ),
        (
            make(SOFTMAX, head="loss = 'categorical_crossentropy'"),
            r"net.py, line 4, `loss = 'categorical_crossentropy'`: .*use 'sparse_categorical_.*"
            r"or make the rows: .*one_hot\(y_true",
        ),
        (make(SOFTMAX, head="loss = keras.losses.BinaryFocalCrossentropy()"), "use 'sparse_categ"),
        (make(SOFTMAX, head="loss = 'mse'"), "mean_squared_error compares each output .*one_hot"),
        (make(SOFTMAX, head="metrics = ['mae']"), "metric .* compares each output .*one_hot"),
        (
            make(SOFTMAX).replace("return keras", "made = keras")
            + "    made.trainable = False\n    return made\n",
            "the model of .* has no weights to train: each layer has none or is frozen",
        ),
        (
            SUBCLASS.format("self.dense(x)").replace(
                "    def call", "    def train_step(self, data):\n        pass\n    def call"
            ),
            r"net.py, line 7, `def train_step\(self, data\):`: train_step of Net would not be",
        ),
        (
            SUBCLASS.format("self.dense(x)").replace(
                "    def call", "    def compute_loss(self, **given): return 0\n    def call"
            ),
            "net.py, line 7, .*compute_loss of Net would not be .* def loss.y_true, y_pred",
        ),
        (
            make(SOFTMAX).replace("Input(input_shape", "Input(input_shape, batch_size=8"),
            "takes batches of 8 samples and no others, .* leave the size out",
        ),
        (
            make("layers.Reshape((4, 1))", "layers.LSTM(3, stateful=True)", SOFTMAX).replace(
                "Input(input_shape", "Input(input_shape, batch_size=8"
            ),
            "layer 'lstm' of .* carries its state .* leave stateful=True out",
        ),
        (make(SOFTMAX, head="optimizer = 'no such'"), "Keras has no optimizer 'no such'"),
        (make(SOFTMAX, head="def optimizer(): return 3"), "optimizer must be .* not an int"),
        (make(SOFTMAX, head="metrics = ['no such']"), "Keras has no metric 'no such'"),
        (make(SOFTMAX, head="metrics = ['AUC']"), "metric 'AUC' is not a mean over samples"),
        (make(SOFTMAX, head="augment = 3"), "augment must be a function, not an int"),
        (
            make(SOFTMAX, head="def augment(x, y):\n    return x[:, :2], y\n"),
            r"the model takes|shape",
        ),
        (
            make(SOFTMAX, head="import numpy\ndef preprocess(x):\n    return numpy.sqrt(x)\n"),
            "(?s)line 6, `return numpy.sqrt.*part of the saved model",
        ),
        (
            make(SOFTMAX).replace(SOFTMAX, "Own(3)").replace(
                "def make", "class Own(layers.Layer):\n    def __init__(self, units):\n"
                "        super().__init__()\n        self.dense = layers.Dense(units)\n"
                "    def call(self, x):\n        return self.dense(x)\n"
                "    def get_config(self):\n        raise NotImplementedError('none')\ndef make",
            ),
            "the model cannot be saved and loaded again: .*none\n.*from get_config",
        ),
        (
            make(SOFTMAX, head="class Slow(keras.optimizers.SGD):\n"
                 "    def build(self, variables):\n        super().build(variables)\n"
                 "        for variable in variables:\n"
                 "            slot = self.add_variable_from_reference(variable, name='slow')\n"
                 "            slot.assign(variable)\n"
                 "optimizer = Slow()\n"),
            "Slow cannot be used: its .*slow begins as more than one number",
        ),
        (
            # Keras finds other shapes for it than it gives.
            make("layers.Dense(4)", "layers.Activation('glu')", SOFTMAX),
            r"net.py:make: ValueError: .*\n\nInput 0 .* axis -1 of input shape to have value 4",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_runs(requested, text, message):
    with pytest.raises(UsageError, match=message):
        describe(requested(text))


def test_what_stands_beside_the_function_is_used(trainer):
    text = make(
        "layers.Dense(classes, kernel_initializer='zeros')",
        head="""
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
def least(y_true, y_pred): return ops.min(y_pred, axis=1)
metrics = [least, "sparse_categorical_accuracy", keras.metrics.SparseTopKCategoricalAccuracy(k=3)]
def optimizer(): return keras.optimizers.SGD(0.0)
def augment(x, y): return x * 0, y
def preprocess(x): return x / 2
""",
    )
    mine = trainer(text, probabilities=False)
    x, y = np.ones((8, 4), np.float32), np.arange(8, dtype=np.int32) % 3
    before = mine.state()
    assert mine.train(x[np.newaxis], y[np.newaxis]) == pytest.approx(8 * np.log(3), rel=1e-5)
    for name, value in mine.state().items():
        assert "iteration" in name or (value == before[name]).all(), name
    scored = mine.score(x, y)
    assert scored.correct == 3
    assert scored.metric_sums == pytest.approx(
        {"least": 8 / 3, "sparse_categorical_accuracy": 3, "sparse_top_k_categorical_accuracy": 8}
    )


def test_augmentation_is_for_training_and_preprocessing_for_both(trainer):
    text = make(
        "layers.Dense(1, kernel_initializer='ones')",
        head="def augment(x, y): return x * 0, y\ndef preprocess(x): return x / 4\noptimizer='sgd'",
    )
    mine = trainer(text, classes=0, probabilities=False)
    x, y = np.full((2, 4), 3, np.float32), np.zeros(2, np.float32)
    scored = mine.score(x, y)
    # Four inputs of 3/4 make 3.
    assert (scored.correct, scored.loss_sum) == (None, pytest.approx(2 * 9.0))
    assert scored.metric_sums == {"mean_absolute_error": pytest.approx(2 * 3.0)}
    assert mine.train(x[np.newaxis], y[np.newaxis]) == 0.0


@pytest.mark.parametrize(
    ("layer", "classes", "expected"),
    [
        ("layers.Dense(classes, kernel_initializer='zeros')", 3, [1 / 3, 1 / 3, 1 / 3]),
        ("layers.Dense(1, kernel_initializer='zeros')", 2, [0.5, 0.5]),
        ("layers.Dense(1, kernel_initializer='ones')", 0, [2.0]),
    ],
)
def test_the_saved_model_preprocesses_and_gives_probabilities(
    trainer, tmp_path, layer, classes, expected
):
    import keras

    text = make(layer, head="def preprocess(x): return x / 2")
    trainer(text, classes=classes, probabilities=False).save_model(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(model(np.ones((1, 4), np.float32))[0], expected, rtol=1e-6)


def test_a_state_has_the_same_names_wherever_it_is_built(trainer):
    text = make("layers.Dropout(0.5)", "layers.Dense(5)", SOFTMAX)
    states = [trainer(text, probabilities=True).state() for _ in "ab"]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name])


TENSORFLOWS = """
import tensorflow as tf
def augment(x, y): return {}, y
"""


@pytest.mark.parametrize(
    ("draw", "kind"),
    [
        ("x + tf.random.normal(tf.shape(x))", "RandomStandardNormal"),
        ("tf.nn.dropout(x, 0.5)", "RandomUniform"),
        ("tf.map_fn(lambda one: tf.random.shuffle(one), x)", "RandomShuffle"),
        ("x + tf.random.get_global_generator().normal(tf.shape(x))", "RngReadAndSkip"),
    ],
)
def test_draws_that_no_seed_repeats_are_refused(requested, draw, kind):
    request = requested(make(SOFTMAX, head=TENSORFLOWS.format(draw)))
    with pytest.raises(UsageError, match=rf"net.py:make draws .* {kind}, .* draw by keras.random"):
        describe(request)


@pytest.mark.parametrize(
    "draw",
    [
        "x + keras.random.normal(tf.shape(x))",
        "tf.random.stateless_normal(tf.shape(x), tf.cast(own.next(), tf.int32))",
        "keras.random.shuffle(keras.random.dropout(x, 0.5)) + keras.random.gamma(tf.shape(x), 2.0)",
    ],
)
def test_draws_of_keras_are_taken(requested, draw):
    head = TENSORFLOWS.format(draw) + "own = keras.random.SeedGenerator(3)"
    describe(requested(make("layers.GaussianNoise(1.0)", SOFTMAX, head=head)))


def test_a_rate_of_the_command_wins_over_a_schedule_beside_the_function(requested):
    schedule = "keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)"
    request = requested(
        make(
            "layers.Dense(1, kernel_initializer='zeros', use_bias=False)",
            head=f"def optimizer(): return keras.optimizers.SGD({schedule})",
        ),
        input_shape=(1,),
        classes=0,
    )
    module = UserModule(request.code, Path(request.folder))
    mine = own_trainer(module, input_shape=(1,), classes=0, learning_rate=0.25)
    mine.train(np.ones((1, 1, 1), np.float32), np.ones((1, 1), np.float32))
    [weight] = [value for name, value in mine.state().items() if name.endswith("kernel")]
    # The gradient of (0 - 1)² is -2.
    assert weight == pytest.approx(0.25 * 2)


@pytest.mark.parametrize(
    ("classes", "instead"), [(2, "binary_crossentropy.*give 2 outputs"), (0, "'mse'")]
)
@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_a_loss_of_classes_is_refused_for_one_output(requested, loss, classes, instead):
    text = make(ONE, head=f"loss = '{loss}'")
    with pytest.raises(UsageError, match=f"takes an output for each class, .* use .*{instead}"):
        describe(requested(text, classes=classes))


def test_accuracy_is_that_of_the_target_as_compile_takes_it(trainer):
    classes = trainer(make(SOFTMAX, head="metrics = ['accuracy']"), probabilities=True)
    both = trainer(make(ONE, head="metrics = ['acc']"), classes=2, probabilities=False)
    for mine, name in ((classes, "sparse_categorical_accuracy"), (both, "binary_accuracy")):
        scored = mine.score(
            *(array[0] for array in (np.ones((1, 8, 4), "f"), np.eye(8, dtype="i")))
        )
        assert scored.metric_sums == {name: scored.correct}


def test_what_decay_leaves_out_stays_left_out_at_a_rate_of_the_command(trainer):
    text = make(
        "layers.Dense(classes, kernel_initializer='ones', bias_initializer='ones')",
        head="""
def optimizer():
    made = keras.optimizers.AdamW(7.0, weight_decay=0.5)
    made.exclude_from_weight_decay(var_names=["bias"])
    return made
def loss(y_true, y_pred): return 0 * ops.sum(y_pred, 1)
""",
    )
    mine = trainer(text, probabilities=False, learning_rate=0.1)
    mine.train(np.ones((1, 8, 4), np.float32), np.zeros((1, 8), np.int32))
    weights = {name.rpartition("/")[2]: v for name, v in mine.state().items() if "model/" in name}
    np.testing.assert_allclose(weights["kernel"], 1 - 0.1 * 0.5)
    np.testing.assert_allclose(weights["bias"], 1)


def test_losses_of_a_model_in_half_precision_are_scaled_as_compile_has_it(trainer):
    import keras

    try:
        head = "keras.config.set_dtype_policy('mixed_float16')"
        mine = trainer(make(SOFTMAX, head=head), probabilities=True)
        assert np.isfinite(mine.train(np.ones((2, 8, 4), np.float32), np.zeros((2, 8), np.int32)))
        [scale] = [v for name, v in mine.state().items() if name.endswith("dynamic_scale")]
        assert scale == 2**15
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_moving_average_is_scored_and_saved_and_not_trained_with(trainer, tmp_path):
    """The state has both, so that training goes on from the weights themselves."""
    from disdel.models.builtin.keras_models import load_keras_network

    text = make(
        "layers.Dense(1, kernel_initializer='zeros', use_bias=False)",
        head="def optimizer(): return keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5)",
    )
    mine = trainer(text, classes=0, input_shape=(1,), probabilities=False)
    # The gradient of (w - 1)² is 2 (w - 1): a step at 0.5 ends at 1.
    mine.train(np.ones((1, 1, 1), np.float32), np.ones((1, 1), np.float32))
    mine.train(np.ones((1, 1, 1), np.float32), np.full((1, 1), 3, np.float32))
    state = mine.state()
    [weight], [average] = (
        [v.item() for name, v in state.items() if name.startswith(start)]
        for start in ("model/0000", "model/average/")
    )
    assert (weight, average) == (3, 2)
    scored = mine.score(np.ones((1, 1), np.float32), np.zeros(1, np.float32))
    assert scored.loss_sum == average**2
    mine.save_model(tmp_path / "model.keras")
    assert load_keras_network(tmp_path / "model.keras").get_weights() == [average]
    assert all((value == state[name]).all() for name, value in mine.state().items())
    # A worker that is given no optimizer's state starts the optimizer anew, and not the average.
    other = trainer(text, classes=0, input_shape=(1,), probabilities=False)
    other.load_state({name: v for name, v in state.items() if name.startswith("model/")})
    assert other.score(np.ones((1, 1), np.float32), np.zeros(1, np.float32)) == scored


def test_the_optimizer_beside_the_function_is_named(requested):
    reply = describe(requested(make(SOFTMAX, head="optimizer = keras.optimizers.Lion(1e-3)")))
    assert reply.model.default_optimizer.name == "lion"
    assert describe(requested(make(SOFTMAX))).model.default_optimizer == OptimizerSpec(name="adam")


HARD_CODED = """
class Scaled(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],))
    def call(self, x):
        import tensorflow as tf
        return tf.cast(x, tf.float32) * tf.convert_to_tensor(self.scale)
"""


def test_a_layer_that_insists_on_float32_is_told_before_anything_runs(requested):
    text = make("Scaled()", SOFTMAX, head=HARD_CODED)
    describe(requested(text))
    with pytest.raises(UsageError, match=r"net.py.*line|bfloat16"):
        describe(requested(text, precision="bfloat16"))


def test_a_model_trained_in_mixed_precision_is_saved_as_float32(trainer, tmp_path):
    import keras

    penalised = "layers.Dense(4, activity_regularizer='l2', kernel_regularizer='l2')"
    mine = trainer(make(penalised, SOFTMAX), probabilities=True, precision="bfloat16")
    x, y = np.ones((2, 8, 4), np.float32), np.zeros((2, 8), np.int32)
    assert np.isfinite(mine.train(x, y))
    mine.save_model(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert {layer.dtype_policy.name for layer in loaded._flatten_layers()} == {"float32"}


SCALE = """
class Scale(layers.Layer):
    def __init__(self, by=1.0, **kwargs):
        super().__init__(**kwargs)
        self.by = by
    def call(self, x): return x * self.by
    def get_config(self): return {**super().get_config(), "by": self.by}
"""


@pytest.mark.parametrize("registered", [False, True])
def test_a_finished_training_gives_a_model_of_the_users_own_layers(trainer, tmp_path, registered):
    from disdel.api import Trained
    from disdel.settings import Settings
    from disdel.user_code.collecting import collect

    head = "@keras.saving.register_keras_serializable('mine')" * registered + SCALE
    mine = trainer(make("Scale(3.0)", SOFTMAX, head=head), probabilities=True)
    (folder := tmp_path / "run").mkdir()
    mine.save_model(folder / "model.keras")
    collect(f"{tmp_path}/net.py:make").write(folder / "code")
    model = Trained(None, folder, Settings()).model
    assert [layer.by for layer in model._flatten_layers() if type(layer).__name__ == "Scale"] == [3]


def test_a_model_without_its_code_cannot_be_loaded(trainer, tmp_path):
    from disdel.models.builtin.keras_models import load_keras_network

    trainer(make("Scale(3.0)", SOFTMAX, head=SCALE), probabilities=True).save_model(
        tmp_path / "model.keras"
    )
    with pytest.raises(UsageError, match=r"(?s)model.keras cannot be loaded: .*Scale"):
        load_keras_network(tmp_path / "model.keras")


@pytest.mark.parametrize(
    "layer",
    [
        "layers.CategoryEncoding(num_tokens=50, output_mode='multi_hot')",
        "layers.Embedding(50, 8, mask_zero=True), layers.Bidirectional(layers.GRU(4))",
    ],
)
def test_a_model_is_tried_out_on_samples_of_the_data_set(requested, layer):
    text = make(layer, "layers.Dense(classes)")
    ids = np.random.default_rng(0).integers(1, 50, (16, 24))
    for dtype in ("", ", dtype='int32'"):
        typed = text.replace("Input(input_shape", f"Input(input_shape{dtype}")
        reply = describe(requested(typed, input_shape=(24,), batch_size=16, x=ids))
        assert reply.model.learns == "class"


def test_a_schedule_of_the_users_is_told_and_no_other_may_be_asked_for(requested):
    from dataclasses import replace

    from disdel.controller.planning.networks import _check_schedule
    from disdel.types import RateSchedule, TrainJob

    decay = "keras.optimizers.schedules.CosineDecay(0.1, 100)"
    text = make(SOFTMAX, head=f"def optimizer(): return keras.optimizers.SGD({decay})")
    own = describe(requested(text)).model
    assert own.default_optimizer.has_schedule
    assert not describe(requested(make(SOFTMAX))).model.default_optimizer.has_schedule
    job = TrainJob(dataset="d", batch_size=8, epochs=1, model="net.py:make")
    _check_schedule(job, own)
    falling = replace(job, rate_schedule=RateSchedule(shape="cosine"))
    for refused, message in (
        (falling, "leave --schedule and --warmup out"),
        (replace(job, optimizer_state="reset"), "--optimizer-state reset"),
    ):
        with pytest.raises(UsageError, match=message):
            _check_schedule(refused, own)
        _check_schedule(replace(refused, learning_rate=0.1), own)


@pytest.mark.parametrize(
    ("condition", "has_loops"), [("x.shape[-1] > 0", False), ("ops.sum(x) > 0", True)]
)
def test_conditions_on_values_and_no_others_are_converted(requested, condition, has_loops):
    augment = f"def augment(x, y):\n    if {condition}: x = x + 1\n    return x, y"
    assert describe(requested(make(SOFTMAX, head=augment))).model.has_loops == has_loops

import math

import pytest

from disdel.errors import UsageError
from disdel.models import built_in, choose_model, layers_of
from disdel.models.builtin.layers import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    GlobalAveragePool2D,
    MaxPool2D,
    Relu,
    Residual,
    rectified_late,
    walk,
)
from tests.support.specs import dataset_spec


def dataset(*shape, classes=10):
    return dataset_spec(
        name="set",
        version="1.0.0",
        input_shape=shape,
        input_dtype="uint8",
        classes=classes,
        train_samples=100,
        test_samples=10,
    )


def test_a_convolution_has_m_k_squared_n_plus_n_parameters():
    assert Conv2D(32, 3).parameters((28, 28, 1)) == 1 * 3**2 * 32 + 32
    assert Conv2D(64, 5).parameters((12, 12, 32)) == 32 * 5**2 * 64 + 64
    assert Dense(10).parameters((128,)) == 1290


def test_shapes_follow_the_layers():
    assert Conv2D(32, 3).output_shape((28, 28, 1)) == (26, 26, 32)
    assert Conv2D(32, 3, strides=2).output_shape((28, 27, 1)) == (13, 13, 32)
    assert Conv2D(6, 5, padding="same").output_shape((3, 28, 1)) == (3, 28, 6)
    assert Conv2D(64, 3, padding="same", strides=2).output_shape((32, 7, 16)) == (16, 4, 64)
    assert MaxPool2D().output_shape((25, 24, 32)) == (12, 12, 32)
    assert AveragePool2D().output_shape((25, 24, 32)) == (12, 12, 32)
    assert GlobalAveragePool2D().output_shape((4, 4, 512)) == (512,)


def test_rectifiers_are_behind_the_max_pools_that_follow_them():
    conv, linear, pool = Conv2D(8, 3), Conv2D(8, 3, "linear"), MaxPool2D()
    assert rectified_late((conv, pool, Dense(2))) == (linear, pool, Relu(), Dense(2))
    assert rectified_late((conv, pool, pool)) == (linear, pool, pool, Relu())
    assert rectified_late((linear, BatchNorm(), Relu(), pool)) == (
        linear,
        BatchNorm(),
        pool,
        Relu(),
    )
    unchanged = (Conv2D(8, 3, "tanh"), pool, conv, AveragePool2D(), Relu())
    assert rectified_late(unchanged) == unchanged


def test_a_residual_is_both_its_ways():
    block = Residual((Conv2D(8, 3, padding="same"), BatchNorm()), (Conv2D(8, 1, bias=False),))
    assert block.output_shape((4, 4, 2)) == (4, 4, 8)
    inside = list(walk((block,), (4, 4, 2)))
    assert [type(layer) for layer, _ in inside] == [Conv2D, BatchNorm, Conv2D, Residual]
    parameters = sum(layer.parameters(shape) for layer, shape in inside)
    assert parameters == (2 * 9 * 8 + 8) + 2 * 8 + 2 * 8
    multiply_adds = sum(layer.multiply_adds(shape) for layer, shape in inside)
    assert multiply_adds == 4 * 4 * 8 * 2 * (9 + 1)
    with pytest.raises(UsageError, match="takes images"):
        block.output_shape((16,))


def test_a_backward_pass_keeps_what_it_needs():
    # Per block: two convolutions and the rectifier between them. After it: the rectifier of the
    # sum. Neither a normalisation's output nor the sum.
    facts = built_in("resnet20", input_shape=(32, 32, 3), classes=10).facts
    stem, first = 3072 + 2 * 32 * 32 * 16, 3 * 4 * 32 * 32 * 16
    second, third = (3 * 4 + 1) * 16 * 16 * 32, (3 * 4 + 1) * 8 * 8 * 64
    assert facts.activations == stem + first + second + third + 64 + 10
    assert facts.largest == 32 * 32 * 16
    # Stem 3, 9 blocks of 5 with their sums and rectifiers, 2 shortcuts of 2, pool and dense.
    assert facts.layers == 3 + 9 * 7 + 2 * 2 + 2


def test_a_shortcut_of_another_shape_is_refused():
    with pytest.raises(UsageError, match=r"shortcut of shape \(4, 4, 2\).*added to \(2, 2, 8\)"):
        Residual((Conv2D(8, 3),)).output_shape((4, 4, 2))


# The thesis's network, the two of the FedKeeper paper and LeNet-5 on 28 by 28 images of 10 classes.
# Those for CIFAR as ports with the same shortcuts and heads count them; He et al. (2015), table 6,
# has 0.27 M and 0.46 M for ResNet-20 and -32.
@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("cnn", (28, 28, 1), 693_962),
        ("mlp", (28, 28, 1), 397_510),
        ("cnn2", (28, 28, 1), 582_026),
        ("lenet5", (28, 28, 1), 61_706),
        ("resnet20", (32, 32, 3), 272_474),
        ("resnet32", (32, 32, 3), 466_906),
        ("resnet34", (32, 32, 3), 21_282_122),
        ("vgg11", (32, 32, 3), 9_231_114),
    ],
)
def test_published_parameter_counts(name, shape, parameters):
    spec = choose_model(name, dataset(*shape))
    assert spec.facts.parameters == parameters


# He et al. (2015), table 6 and section 4.2: 6n + 2 layers with weights on the way through.
@pytest.mark.parametrize(("name", "depth"), [("resnet20", 20), ("resnet32", 32), ("resnet34", 34)])
def test_a_residual_network_is_as_deep_as_its_name_says(name, depth):
    layers = layers_of(built_in(name, input_shape=(32, 32, 3), classes=10))
    through = [
        inner
        for layer in layers
        for inner in (layer.body if isinstance(layer, Residual) else (layer,))
    ]
    assert sum(isinstance(layer, Conv2D | Dense) for layer in through) == depth


def test_auto_goes_by_the_shape():
    assert choose_model("auto", dataset(8, 8, 1)).name == "cnn"
    assert choose_model("auto", dataset(64)).name == "mlp"


def test_an_unknown_model_suggests_a_near_one():
    with pytest.raises(UsageError, match=r"unknown model 'cnm' \(did you mean 'cnn'\?\)"):
        choose_model("cnm", dataset(28, 28, 1))


def test_a_model_that_does_not_fit_says_where():
    with pytest.raises(
        UsageError, match=r"'cnn2' does not fit data set 'set'.*at least 5×5.*gets 2×2"
    ):
        choose_model("cnn2", dataset(8, 8, 1))
    with pytest.raises(UsageError, match="takes images"):
        choose_model("cnn", dataset(64))


SHAPES = [(28, 28, 1), (32, 32, 3), (20, 16, 1)]


@pytest.mark.framework
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *((name, shape) for name in ("cnn", "cnn2", "mlp", "lenet5") for shape in SHAPES),
        ("resnet20", (20, 15, 1)),
        *((name, (32, 32, 3)) for name in ("resnet20", "resnet32", "resnet34", "vgg11")),
    ],
)
def test_sizes_agree_with_keras(name, shape):
    from disdel.models.builtin.keras_models import build_keras_model

    spec = built_in(name, input_shape=shape, classes=7)
    model = build_keras_model(spec)
    facts = spec.facts
    assert sum(math.prod(v.shape) for v in model.trainable_variables) == facts.parameters
    assert model.output_shape == (None, 7)
    # Keras has a layer for the input, one that scales it, and each rectifier behind a max pool.
    late = sum(isinstance(layer, Relu) for layer in rectified_late(layers_of(spec)))
    own = sum(isinstance(layer, Relu) for layer in layers_of(spec))
    assert len(model.layers) == 2 + facts.layers + late - own
    outputs = [math.prod(layer.output.shape[1:]) for layer in model.layers]
    assert facts.largest == max(outputs)


@pytest.mark.framework
def test_a_model_has_the_same_names_wherever_it_is_built():
    from disdel.models.builtin.keras_models import build_keras_model

    spec = built_in("resnet20", input_shape=(8, 8, 1), classes=3)
    paths = [[v.path for v in build_keras_model(spec).variables] for _ in "ab"]
    assert paths[0] == paths[1]

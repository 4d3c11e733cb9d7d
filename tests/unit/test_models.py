import math

import pytest

from disdel.catalog.models import MODEL_NAMES, choose_model, layers_of, model_facts
from disdel.catalog.models.layers import Conv2D, Dense, MaxPool2D
from disdel.errors import UsageError
from disdel.types import DatasetSpec, ModelSpec


def dataset(*shape, classes=10):
    return DatasetSpec(
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
    assert MaxPool2D().output_shape((25, 24, 32)) == (12, 12, 32)


# The thesis's network, and the two of the FedKeeper paper, on 28 by 28 images of 10 classes.
@pytest.mark.parametrize(
    ("name", "parameters"), [("cnn", 693_962), ("mlp", 397_510), ("cnn2", 582_026)]
)
def test_published_parameter_counts(name, parameters):
    spec = choose_model(name, dataset(28, 28, 1))
    assert model_facts(spec).parameters == parameters


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


@pytest.mark.framework
@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (20, 16, 1)])
def test_sizes_agree_with_keras(name, shape):
    from disdel.catalog.models.keras_models import build_keras_model

    spec = ModelSpec(name=name, input_shape=shape, classes=7)
    model = build_keras_model(spec, input_dtype="uint8")
    facts = model_facts(spec)
    assert model.count_params() == facts.parameters
    assert model.output_shape == (None, 7)
    outputs = [math.prod(layer.output.shape[1:]) for layer in model.layers if layer.name != "scale"]
    assert facts.activations == math.prod(shape) + sum(outputs)
    assert len(layers_of(spec)) == len(outputs)


@pytest.mark.framework
def test_a_model_has_the_same_names_wherever_it_is_built():
    from disdel.catalog.models.keras_models import build_keras_model

    spec = ModelSpec(name="cnn", input_shape=(8, 8, 1), classes=3)
    paths = [[v.path for v in build_keras_model(spec, input_dtype="uint8").variables] for _ in "ab"]
    assert paths[0] == paths[1]

"""What every framework's trainer must do alike, and that they compute the same numbers."""

import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from disdel.errors import StoreError, UsageError
from disdel.models import MODEL_NAMES, built_in
from disdel.runtimes.base import AddedTerms
from disdel.strategies.aggregation import weighted_mean
from disdel.types import OPTIMIZERS
from disdel.user_code.collecting import collect
from disdel.user_code.module import UserModule
from tests.support.numpy_runtime import NumpyTrainer

pytestmark = pytest.mark.framework

SPEC = built_in("cnn", input_shape=(8, 8, 1), classes=4)
MLP = built_in("mlp", input_shape=(8, 8, 1), classes=4)
BATCH_NORM = built_in("resnet20", input_shape=(9, 8, 3), classes=4)


def keras_trainer(spec=SPEC, optimizer="adam", learning_rate=None, seed=0, precision="float32"):
    import keras

    from disdel.models.builtin.keras_models import build_keras_model
    from disdel.runtimes.keras.trainer import KerasTrainer

    keras.utils.set_random_seed(seed)
    model = build_keras_model(spec)
    return model, KerasTrainer(
        model,
        optimizer=optimizer,
        learning_rate=learning_rate,
        input_dtype="uint8",
        converts=False,
        precision=precision,
    )


def torch_trainer(spec=SPEC, optimizer="adam", learning_rate=None, seed=0, precision="float32"):
    import torch

    from disdel.models.builtin.torch_models import TorchNetwork
    from disdel.runtimes.torch.optimizers import Group, TorchOptimizer, keras_rule
    from disdel.runtimes.torch.trainer import TorchTrainer

    torch.manual_seed(seed)
    model = TorchNetwork(spec)
    rule = keras_rule(optimizer, learning_rate)
    groups = [Group(rule, dict(model.named_parameters()))]
    return model, TorchTrainer(
        model, optimizer=TorchOptimizer(groups), save=print, precision=precision
    )


def own_torch_trainer(spec=SPEC, optimizer="adam", learning_rate=None, seed=0, precision="float32"):
    """Of a module that the user wrote: here, the layers of a built-in one."""
    import torch

    from disdel.models.torch_made import TorchMade, trainer_of
    from disdel.models.user.torch_model import build_own, recipe_of

    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.py"
        path.write_text(OWN.format(name=spec.name))
        code = collect(f"{path}:make").ref
        module = UserModule(code, path.parent)
        sys.path.remove(str(path.parent.resolve()))
    built = build_own(module, np.zeros((2, *spec.input_shape), np.uint8), spec.target)
    mine = replace(spec, code=code, home="torch", gives_probabilities=False)
    trainer = trainer_of(
        TorchMade(built.made, recipe_of(module, mine)),
        mine,
        optimizer=optimizer,
        learning_rate=learning_rate,
        precision=precision,
    )
    return built.made, trainer


OWN = """
from disdel.models import MODEL_NAMES, built_in
from disdel.models.builtin.torch_models import TorchNetwork

def preprocess(x):
    return x / 255

def make(input_shape, classes):
    channels, *sides = input_shape
    spec = built_in({name!r}, input_shape=(*sides, channels), classes=classes)
    return TorchNetwork(spec).layers
"""


def numpy_trainer(spec=SPEC, optimizer="sgd", **options):
    """Of a runtime that knows dense layers and one optimizer: what it refuses is left out."""
    try:
        dense = MLP if spec == SPEC else spec
        trainer = NumpyTrainer(dense, optimizer=optimizer, **options)
    except UsageError as error:
        pytest.skip(str(error))
    return None, trainer


@pytest.fixture(
    params=[keras_trainer, torch_trainer, own_torch_trainer, numpy_trainer],
    ids=["tensorflow", "torch", "own-torch", "numpy"],
)
def make(request):
    return lambda *args, **options: request.param(*args, **options)[1]


def samples(spec=SPEC, steps=6, batch=16):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (steps, batch, *spec.input_shape), np.uint8)
    return x, rng.integers(0, spec.classes, (steps, batch)).astype(np.int32)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_steps_of_built_in_torch_networks_draw_no_random_numbers(name):
    import random

    import torch

    from disdel.models.torch_networks import build_trainer
    from disdel.protocol.messages import Network

    spec = built_in(name, input_shape=(32, 32, 3), classes=4)
    x, y = samples(spec, steps=1, batch=2)
    network = Network(
        runtime="torch", model=spec, optimizer="sgd", learning_rate=None, seed=0, threads=1
    )
    trainer = build_trainer(network, x[0])
    assert not trainer.takes_seeds
    states = []
    for _ in range(2):
        drawn = np.random.get_state()[1].tobytes(), random.getstate()
        states.append((torch.default_generator.get_state().tolist(), *drawn))
        trainer.train(x, y)
    assert states[0] == states[1]


def assert_identical(states):
    one, other = states
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert (value.dtype, value.shape) == (other[name].dtype, other[name].shape), name
        assert value.tobytes() == other[name].tobytes(), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_carries_everything_that_decides_the_next_step(make, optimizer):
    x, y = samples()
    whole = make(optimizer=optimizer)
    whole.train(x, y)
    first, second = make(optimizer=optimizer), make(optimizer=optimizer, seed=99)
    first.train(x[:3], y[:3])
    second.load_state(first.state())
    second.train(x[3:], y[3:])
    assert_identical([whole.state(), second.state()])


def test_a_state_carries_what_batch_normalisation_has_seen(make):
    x, y = samples(BATCH_NORM, steps=2)
    trained, other = make(BATCH_NORM), make(BATCH_NORM, seed=99)
    before = trained.state()
    trained.train(x, y)
    followed = [name for name in before if re.search("moving|running", name)]
    assert len(followed) == 2 * 21
    assert not set(followed) & set(trained.trained())
    assert all((trained.state()[name] != before[name]).any() for name in followed)
    other.load_state(trained.state())
    assert other.score(x[0], y[0]) == trained.score(x[0], y[0])
    # One block of two steps, and two of one.
    trained.train(x, y)
    other.train(x[:1], y[:1])
    other.train(x[1:], y[1:])
    assert_identical([trained.state(), other.state()])


def test_a_state_is_of_its_moment(make):
    x, y = samples()
    trainer = make()
    before = trainer.state()
    copies = {name: value.copy() for name, value in before.items()}
    trainer.train(x, y)
    assert_identical([before, copies])
    assert_identical([trainer.peek(), trainer.state()])


def test_counters_are_integers_and_the_rest_single_floats(make):
    x, y = samples()
    trainer = make()
    trainer.train(x, y)
    counters = [value for value in trainer.state().values() if value.dtype.kind in "iu"]
    assert any(counter.shape == () and counter == len(x) for counter in counters)
    others = {
        value.dtype.name for value in trainer.state().values() if value.dtype.kind not in "iu"
    }
    assert others == {"float32"}


def test_a_block_of_steps_is_as_many_blocks_of_one(make):
    x, y = samples(steps=3)
    block, single = make(), make()
    loss = block.train(x, y)
    losses = [single.train(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    assert loss == pytest.approx(sum(losses), rel=1e-5)
    assert_identical([block.state(), single.state()])


def test_a_batch_in_parts_takes_the_same_step(make):
    x, y = samples()
    whole = make(optimizer="sgd", learning_rate=0.1)
    loss = whole.train(x, y)
    for parts in (2, 3, 16, 99):
        cut = make(optimizer="sgd", learning_rate=0.1)
        assert cut.train(x, y, micro_batches=parts) == pytest.approx(loss, rel=1e-4), parts
        found = cut.state()
        for name, value in whole.state().items():
            said = f"{name} in {parts} parts"
            np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-5, err_msg=said)


def test_states_of_one_network_have_one_set_of_names(make):
    assert make().state().keys() == make().state().keys()


def test_a_state_of_another_optimizer_is_refused(make):
    with pytest.raises(StoreError, match="another network or optimizer"):
        make(optimizer="sgd").load_state(make(optimizer="adam").state())


def test_a_state_of_another_shape_is_refused(make):
    state = make().state()
    name = max(state, key=lambda name: state[name].ndim)
    with pytest.raises(StoreError, match=rf"{re.escape(name)} is stored as \(2, 2\)"):
        make().load_state({**state, name: np.zeros((2, 2), np.float32)})


def test_one_round_of_full_shard_steps_is_one_large_step(make):
    """The oracle of averaging: mean loss, plain SGD, no state but weights and a counter."""
    x, y = samples()
    x, y = x.reshape(1, 96, 8, 8, 1), y.reshape(1, 96)
    large = make(optimizer="sgd", learning_rate=0.1)
    large.train(x, y)
    parts = []
    for shard in (slice(0, 24), slice(24, 72), slice(72, 96)):
        worker = make(optimizer="sgd", learning_rate=0.1)
        worker.train(x[:, shard], y[:, shard])
        parts.append(worker.state())
    for name, expected in large.state().items():
        mean = weighted_mean([part[name] for part in parts], [24, 48, 24])
        np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-6)


def test_a_users_module_takes_the_steps_of_the_built_in_one():
    x, y = samples()
    _, built_in = torch_trainer()
    _, own = own_torch_trainer()
    assert own.train(x, y) == pytest.approx(built_in.train(x, y), rel=1e-4)
    expected = built_in.state()
    for name, value in own.state().items():
        # Images lie in memory in another order, which gradients feel in their last bits.
        twin = re.sub("^(model/|optimizer/[a-z]+/)", r"\1layers.", name)
        np.testing.assert_allclose(value, expected[twin], rtol=1e-3, atol=1e-4)


CNN2 = built_in("cnn2", input_shape=(17, 16, 3), classes=4)
RESNET20 = built_in("resnet20", input_shape=(17, 16, 3), classes=4)
LENET5 = built_in("lenet5", input_shape=(14, 13, 1), classes=4)


@pytest.mark.parametrize(
    # A gradient's distance as a share of its length: rounding grows with every normalisation.
    ("spec", "parts", "apart"),
    [(SPEC, 1, 0.1), (CNN2, 2, 0.1), (RESNET20, 1, 0.4)],
    ids=["cnn", "cnn2", "resnet20"],
)
def test_a_step_of_mixed_precision_is_near_one_of_float32(make, spec, parts, apart):
    x, y = samples(spec, steps=1, batch=32)
    # At a rate of 1 a step is the gradient.
    exact = make(spec, "sgd", learning_rate=1.0)
    mixed = make(spec, "sgd", learning_rate=1.0, precision="bfloat16")
    before = exact.state()
    mixed.load_state(before)
    loss, near = exact.train(x, y, parts), mixed.train(x, y, parts)
    assert near == pytest.approx(loss, rel=0.01)
    # Unless it is float32 after all.
    assert near != loss
    wanted, found = exact.state(), mixed.state()
    way = away = 0.0
    for name, start in before.items():
        assert (found[name].dtype, found[name].shape) == (start.dtype, start.shape), name
        if start.dtype.kind == "f":
            way += np.square(wanted[name] - start).sum()
            away += np.square(found[name] - wanted[name]).sum()
    assert 0 < away <= apart**2 * way


def test_mixed_precision_trains_and_scores_in_float32(make):
    x, y = samples(steps=1)
    mixed = make(precision="bfloat16")
    losses = [mixed.train(x, y) for _ in range(40)]
    assert losses[-1] < losses[0] / 2
    exact = make(seed=99)
    exact.load_state(mixed.state())
    assert exact.score(x[0], y[0]) == mixed.score(x[0], y[0])


def test_mixed_precision_is_reproducible(make):
    x, y = samples(CNN2)
    one, other = (make(CNN2, precision="bfloat16") for _ in range(2))
    assert one.train(x, y) == other.train(x, y)
    assert_identical([one.state(), other.state()])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_steps_go_on_in_another_container_bit_for_bit(make, precision):
    """From the state that one has left, and scored before the first step, as workers do."""
    x, y = samples(CNN2, steps=4)
    whole = make(CNN2, precision=precision)
    whole.train(x, y)
    first = make(CNN2, precision=precision)
    first.train(x[:2], y[:2])
    second = make(CNN2, seed=99, precision=precision)
    second.load_state(first.state())
    second.score(x[0], y[0])
    second.train(x[2:], y[2:])
    assert_identical([whole.state(), second.state()])


def same_tensors(keras_model, torch_model):
    """Variables of the one and tensors of the other that mean the same, and the way between them.

    Both number or register their layers in the order of the network's description.
    """
    from torch import nn

    def own(kind):
        named = [
            layer for layer in keras_model.layers if re.fullmatch(rf"{kind}(_\d+)?", layer.name)
        ]
        return iter(
            sorted(
                named,
                key=lambda layer: int((re.findall(r"\d+$", layer.name[len(kind) :]) or ["-1"])[0]),
            )
        )

    convolutions, norms, denses = own("conv2d"), own("batch_normalization"), own("dense")
    for module in torch_model.modules():
        if isinstance(module, nn.Conv2d):
            layer = next(convolutions)
            yield layer.kernel, module.weight, (3, 2, 0, 1)
            if module.bias is not None:
                yield layer.bias, module.bias, (0,)
        elif isinstance(module, nn.Linear):
            layer = next(denses)
            yield layer.kernel, module.weight, (1, 0)
            yield layer.bias, module.bias, (0,)
        elif isinstance(module, nn.BatchNorm2d):
            layer = next(norms)
            yield layer.gamma, module.weight, (0,)
            yield layer.beta, module.bias, (0,)
            yield layer.moving_mean, module.running_mean, (0,)
            yield layer.moving_variance, module.running_var, (0,)


def twins(spec, optimizer, learning_rate=None):
    """A trainer of each framework from the same weights, and their pairs of tensors."""
    import torch

    keras_model, keras_one = keras_trainer(spec, optimizer, learning_rate)
    torch_model, torch_one = torch_trainer(spec, optimizer, learning_rate)
    pairs = list(same_tensors(keras_model, torch_model))
    assert len(pairs) == len(keras_model.variables)
    with torch.no_grad():
        for variable, tensor, axes in pairs:
            tensor.copy_(torch.from_numpy(np.asarray(variable).transpose(axes).copy()))
    return keras_one, torch_one, pairs


@pytest.mark.parametrize("spec", [SPEC, CNN2, LENET5, RESNET20], ids=lambda spec: spec.name)
def test_frameworks_agree_on_losses_and_gradients(spec):
    x, y = samples(spec, steps=1, batch=32)
    # At a rate of 1 a step is the gradient.
    keras_one, torch_one, pairs = twins(spec, "sgd", learning_rate=1.0)
    scores = keras_one.score(x[0], y[0]), torch_one.score(x[0], y[0])
    assert scores[0].loss_sum == pytest.approx(scores[1].loss_sum, rel=1e-5)
    assert scores[0].correct == scores[1].correct
    before = [np.asarray(variable).copy() for variable, _, _ in pairs]
    assert keras_one.train(x, y) == pytest.approx(torch_one.train(x, y), rel=1e-5)
    for (way, apart), (variable, _, _) in zip(distances(before, pairs), pairs, strict=True):
        # They agree to 1e-4 but where rounding switches a rectifier, which moves the gradients of
        # deep networks by up to a few percent. PyTorch follows the unbiased variance, here at most
        # 640/639 of the other.
        assert apart.max() <= (0.1 if spec is RESNET20 else 0.02) * way, variable.path


def distances(before, pairs):
    """How far the largest step of each variable went, and how far its twin's steps end from it."""
    for old, (variable, tensor, axes) in zip(before, pairs, strict=True):
        new = np.asarray(variable)
        yield np.abs(new - old).max(), np.abs(new.transpose(axes) - tensor.detach().numpy())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_name_of_an_optimizer_means_the_same_rule(optimizer):
    x, y = samples(CNN2, steps=4)
    keras_one, torch_one, pairs = twins(CNN2, optimizer)
    before = [np.asarray(variable).copy() for variable, _, _ in pairs]
    keras_one.train(x, y)
    torch_one.train(x, y)
    for (way, apart), (variable, _, _) in zip(distances(before, pairs), pairs, strict=True):
        assert way > 0
        # Rules that go by a gradient's sign, or nearly so, part where it is almost zero.
        assert np.mean(apart > 1e-2 * way) < 0.01, variable.path


RATE, MU = 0.1, 0.3


def compiled_trainer(program, learning_rate=RATE):
    from disdel.runtimes.compiled.trainer import CompiledTrainer

    return CompiledTrainer(program, seed=0, learning_rate=learning_rate, threads=1)


@pytest.fixture(params=["tensorflow", "torch", "own-torch", "compiled"])
def by_sgd(request):
    """Makes trainers by plain SGD that take added terms."""
    if request.param == "compiled":
        program = request.getfixturevalue("program_with_terms")
        return lambda: compiled_trainer(program)
    makers = {"tensorflow": keras_trainer, "torch": torch_trainer, "own-torch": own_torch_trainer}
    return lambda: makers[request.param](optimizer="sgd", learning_rate=RATE)[1]


def some_terms(trainer):
    """A pull towards the present weights, and a correction of all tensors but one."""
    rng = np.random.default_rng(3)
    state = trainer.state()
    shift = {
        name: np.float32(rng.normal(0, 0.1, state[name].shape) - MU * state[name])
        for name in trainer.trained()[1:]
    }
    return AddedTerms(MU, shift)


@pytest.mark.parametrize("parts", [1, 3])
def test_added_terms_are_those_of_a_calculation_by_hand(by_sgd, parts):
    x, y = samples(steps=3)
    plain, trainer = by_sgd(), by_sgd()
    trainer.load_state(plain.state())
    terms = some_terms(trainer)
    trainer.add_terms(terms)
    assert len(trainer.trained()) == len(set(trainer.trained())) > 3
    for step in range(len(x)):
        before = trainer.state()
        plain.load_state(before)
        block = x[step : step + 1], y[step : step + 1]
        assert trainer.train(*block, parts) == pytest.approx(plain.train(*block, parts), rel=1e-4)
        after, without = trainer.state(), plain.state()
        for name in trainer.trained():
            added = MU * before[name] + terms.shift.get(name, 0)
            wanted = without[name] - RATE * added
            np.testing.assert_allclose(after[name], wanted, rtol=1e-4, atol=1e-6, err_msg=name)
            assert np.abs(after[name] - without[name]).max() > 1e-4
        for name in after.keys() - trainer.trained():
            np.testing.assert_array_equal(after[name], without[name])
    # In one block, too; and without terms a trainer is what it was.
    trainer.load_state(plain.state())
    plain.load_state(trainer.state())
    trainer.add_terms(None)
    trainer.train(x, y)
    plain.train(x, y)
    assert_identical([trainer.state(), plain.state()])


def test_an_optimizer_is_given_the_terms_with_the_gradients(make):
    """At the end of a pull that is far stronger than the gradients are the weights it pulls to."""
    x, y = samples(steps=120)
    trainer = make(optimizer="adam", learning_rate=0.01)
    goal = {name: np.full_like(trainer.state()[name], 0.5) for name in trainer.trained()}
    trainer.add_terms(AddedTerms(1e4, {name: np.float32(-1e4) * goal[name] for name in goal}))
    trainer.train(x, y)
    for name, wanted in goal.items():
        np.testing.assert_allclose(trainer.state()[name], wanted, atol=0.05)


@pytest.mark.parametrize("parts", [1, 2])
def test_frameworks_agree_on_added_terms(program_with_terms, parts):
    x, y = samples(steps=4)
    keras_one, torch_one, pairs = twins(SPEC, "sgd", RATE)
    compiled = compiled_trainer(program_with_terms)
    begun = zip(compiled.state().items(), keras_one.state().values(), strict=True)
    compiled.load_state({name: value.astype(wanted.dtype) for (name, wanted), value in begun})
    trained = [keras_one.trained(), torch_one.trained(), compiled.trained()]
    terms = some_terms(keras_one)
    shifts = [terms.shift.get(name, np.zeros_like(keras_one.state()[name])) for name in trained[0]]
    keras_one.add_terms(AddedTerms(MU, dict(zip(trained[0], shifts, strict=True))))
    compiled.add_terms(AddedTerms(MU, dict(zip(trained[2], shifts, strict=True))))
    torch_shifts = {}
    for (_, tensor, axes), shift in zip(pairs, shifts, strict=True):
        [name] = [n for n in trained[1] if torch_one.state()[n].shape == tensor.shape]
        torch_shifts[name] = np.ascontiguousarray(shift.transpose(axes))
    torch_one.add_terms(AddedTerms(MU, torch_shifts))
    loss = keras_one.train(x, y, parts)
    assert torch_one.train(x, y, parts) == pytest.approx(loss, rel=1e-4)
    assert compiled.train(x, y, parts) == pytest.approx(loss, rel=1e-4)
    for (variable, tensor, axes), name in zip(pairs, trained[2], strict=True):
        wanted = np.asarray(variable)
        np.testing.assert_allclose(compiled.state()[name], wanted, rtol=1e-3, atol=2e-5)
        found = tensor.detach().numpy()
        np.testing.assert_allclose(found, wanted.transpose(axes), rtol=1e-3, atol=2e-5)


def test_a_network_compiled_without_terms_refuses_them(program):
    trainer = compiled_trainer(program)
    trainer.add_terms(None)
    with pytest.raises(UsageError, match="compiled without terms"):
        trainer.add_terms(AddedTerms(MU, {}))

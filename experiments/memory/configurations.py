"""What is measured: data sets, networks, and every configuration in the order of the benchmark."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from disdel.data import import_dataset, list_datasets, load_arrays

DATASETS = {
    "mnist": "mnist.npz",
    "cifar10": "cifar10-images.zip",
    "alphadigits": "binary_alpha_digits.npz",
}
NETWORKS = ("cnn", "cnn2", "resnet20")
DEFAULT_NETWORK = "cnn"
BATCHES = (32, 64, 128)
DEFAULT_BATCH = 64
WORKERS = (1, 2, 3, 4)
DEFAULT_WORKERS = 2
# The thesis's job.
THESIS_EPOCHS = 5
CEILING_MB = 512

# Networks that take long train on so many samples of a data set, if it has more.
SAMPLES = {"cnn2": 12_800, "resnet20": 3_200}
SUBSET_TEST_SAMPLES = 1_000
SUBSET_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A job of the benchmark.

    Attributes:
        source: a name of `DATASETS`.
        dataset: the name that `disdel` knows it by, of a subset where the network takes long.
        network: a name of `disdel.models`.
        batch: samples of a training step.
        workers: None leaves it to the planner.
        epochs: one round each.
        memory_max_mb: `--memory-max`.
    """

    source: str
    dataset: str
    network: str
    batch: int = DEFAULT_BATCH
    workers: int | None = DEFAULT_WORKERS
    epochs: int = 1
    memory_max_mb: int | None = None

    @property
    def name(self) -> str:
        workers = "auto" if self.workers is None else self.workers
        ceiling = "" if self.memory_max_mb is None else f"-max{self.memory_max_mb}"
        return f"{self.source}-{self.network}-b{self.batch}-w{workers}-e{self.epochs}{ceiling}"

    @property
    def by_hand(self) -> bool:
        """Whether it is also done with the thesis's estimate, by hand, and with one action.

        The thesis's job on every data set, and the larger networks on one.
        """
        larger = self.network != DEFAULT_NETWORK and self.source == "cifar10"
        return self.epochs == THESIS_EPOCHS or (larger and self.batch == DEFAULT_BATCH)


def _dataset_of(source: str, network: str) -> str:
    # Binary Alphadigits is smaller than any subset.
    small = source == "alphadigits" or network not in SAMPLES
    return source if small else f"{source}_{SAMPLES[network]}"


def all_configurations() -> list[Configuration]:
    """Data set × network × batch; then numbers of workers, epochs and a ceiling for each set."""
    found = [
        Configuration(
            source=source, dataset=_dataset_of(source, network), network=network, batch=batch
        )
        for source in DATASETS
        for network in NETWORKS
        for batch in BATCHES
    ]
    for source in DATASETS:
        default = {"source": source, "dataset": source, "network": DEFAULT_NETWORK}
        others = (workers for workers in WORKERS if workers != DEFAULT_WORKERS)
        found += [Configuration(**default, workers=workers) for workers in others]
        found.append(Configuration(**default, workers=None, epochs=THESIS_EPOCHS))
        found.append(Configuration(**default, workers=None, memory_max_mb=CEILING_MB))
    return found


def prepare(configurations: list[Configuration], files: Path, data_dir: Path) -> None:
    """Import what the configurations train on, except for what an earlier call has imported."""
    have = {row.name for row in list_datasets(data_dir)}
    for configuration in configurations:
        for name in (configuration.source, configuration.dataset):
            if name in have:
                continue
            print(f"importing {name}", flush=True)
            if name == configuration.source:
                import_dataset(name, files / DATASETS[name], data_dir)
            else:
                with tempfile.TemporaryDirectory() as scratch:
                    path = Path(scratch) / f"{name}.npz"
                    _write_subset(
                        path, configuration.source, SAMPLES[configuration.network], data_dir
                    )
                    import_dataset(name, path, data_dir)
            have.add(name)


def _write_subset(path: Path, source: str, samples: int, data_dir: Path) -> None:
    """Samples of both splits of `source`, drawn without replacement."""
    arrays = load_arrays(source, data_dir)
    random = np.random.default_rng(SUBSET_SEED)
    train = np.sort(random.permutation(len(arrays.train_x))[:samples])
    test = np.sort(random.permutation(len(arrays.test_x))[:SUBSET_TEST_SAMPLES])
    np.savez(
        path,
        x_train=arrays.train_x[train],
        y_train=arrays.train_y[train],
        x_test=arrays.test_x[test],
        y_test=arrays.test_y[test],
    )

"""pfl-research's simulation with federated averaging, in one process or in several under torchrun.

Prints one JSON object on its last line: seconds from one average to the next. Runs with the Python
of an environment that has `pfl[pytorch]`.
"""

import argparse
import json
import os
import time
from itertools import pairwise

import networks
import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Weighted
from pfl.model.pytorch import PyTorchModel
from settings import SETTINGS, samples_of


class Network(torch.nn.Module):
    """A network with the two methods that pfl asks for."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(networks.preprocess(x))

    def loss(self, x, y, eval=False):  # noqa: A002 - pfl's name
        self.train(not eval)
        return networks.loss(self(x), y)

    @torch.no_grad()
    def metrics(self, x, y, eval=True):  # noqa: A002 - pfl's name
        self.train(not eval)
        return {"loss": Weighted(float(networks.loss(self(x), y)) * len(y), len(y))}


class Clock(TrainingProcessCallback):
    """Notes when each average was there."""

    def __init__(self):
        self.averaged_s = [time.perf_counter()]

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        self.averaged_s.append(time.perf_counter())
        return super().after_central_iteration(
            aggregate_metrics, model, central_iteration=central_iteration
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("npz")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    setting = SETTINGS[options.setting]
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)

    def dataset_of(client):
        x, y = samples_of(setting, options.npz, client, options.seed)
        return Dataset(raw_data=[torch.from_numpy(x), torch.from_numpy(y)], user_id=str(client))

    sampler = get_user_sampler("random", list(range(setting.clients)))
    network = Network(getattr(networks, setting.network)())
    clock = Clock()
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=options.rounds,
            # No round but the first is evaluated.
            evaluation_frequency=options.rounds + 1,
            train_cohort_size=setting.cohort,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(
            training_data=FederatedDataset(dataset_of, sampler), val_data=None, postprocessors=[]
        ),
        model=PyTorchModel(
            model=network,
            local_optimizer_create=torch.optim.SGD,
            central_optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        ),
        model_train_params=NNTrainHyperParams(
            local_learning_rate=setting.rate,
            local_num_epochs=setting.epochs,
            local_batch_size=setting.batch,
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=1000),
        callbacks=[clock],
    )
    ends_s = clock.averaged_s
    rounds_s = [later - before for before, later in pairwise(ends_s)]
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps({"rounds_s": rounds_s}))


if __name__ == "__main__":
    main()

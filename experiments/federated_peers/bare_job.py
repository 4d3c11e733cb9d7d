"""The steps of a round and nothing else: processes of one thread train their share of a cohort.

Prints one JSON object: seconds of each round, which begins and ends for all processes together.
"""

import argparse
import json
import multiprocessing
import time

import networks
import torch
from settings import SETTINGS, samples_of
from steps import train


def work(options, process, barrier, ended):
    try:
        train_share(options, process, barrier, ended)
    except Exception as failed:
        barrier.abort()
        ended.put(f"process {process}: {failed!r}")


def train_share(options, process, barrier, ended):
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    setting = SETTINGS[options.setting]
    model = getattr(networks, setting.network)()
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    for number in range(options.rounds):
        cohort = range(number * setting.cohort, (number + 1) * setting.cohort)
        mine = [client % setting.clients for client in cohort][process :: options.processes]
        data = [samples_of(setting, options.npz, client, options.seed) for client in mine]
        barrier.wait()
        began_s = time.perf_counter()
        for x, y in data:
            model.load_state_dict(initial)
            train(model, setting, x, y)
        barrier.wait()
        if process == 0:
            ended.put(time.perf_counter() - began_s)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("npz")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    spawned = multiprocessing.get_context("spawn")
    barrier, ended = spawned.Barrier(options.processes), spawned.Queue()
    workers = [
        spawned.Process(target=work, args=(options, process, barrier, ended))
        for process in range(options.processes)
    ]
    for worker in workers:
        worker.start()
    rounds_s = []
    for _ in range(options.rounds):
        if isinstance(found := ended.get(), str):
            raise SystemExit(found)
        rounds_s.append(found)
    for worker in workers:
        worker.join()
    print(json.dumps({"rounds_s": rounds_s}))


if __name__ == "__main__":
    main()

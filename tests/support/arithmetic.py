"""Training that is arithmetic: what a run should come to can be reckoned in one's head."""

import json

import numpy as np

from disdel.protocol import messages
from disdel.runtimes.base import AddedTerms
from disdel.store.codec import encode, read_tensors
from disdel.worker.collect import collect
from disdel.worker.keeping import store_kept
from disdel.worker.phases import PhaseClock
from disdel.worker.terms import added_terms


def scores(report):
    """Loss, accuracy and metrics of each round."""
    return [(entry.loss, entry.accuracy, entry.metrics) for entry in report.rounds]


class Arithmetic:
    """Clients whose weight is a number: training adds the client's number + 1, once a round.

    It does so in two steps of equal gradients, to which the terms of a strategy are added.
    """

    def __init__(self, store):
        self.store = store
        self.segments_of_worker_1 = 1
        self.hooks = {}
        self.own_rounds = {}
        self.train_s = lambda request: 0.1
        self.loss_of = lambda weight: 10 - weight
        self.sent = lambda w, request: w
        self.exported = None

    def train(self, arguments):
        if arguments["task"] == "score":
            return self.score(arguments)
        if arguments["task"] == "collect":
            return self.collect(arguments)
        request = messages.from_json(messages.TrainRequest, arguments)
        instead = self.hooks.get((request.worker, request.round), lambda request: None)(request)
        if instead is not None:
            return instead
        if request.initialise:
            self.store.put_if_absent(request.state_key, encode({"w": np.zeros(2, np.float64)}))
        state = read_tensors(self.store, request.state_key)
        if (scores := request.scores) is not None:
            told = messages.to_json(self.scored(state["w"][0], scores))
            self.store.set_field(scores.scores_key, str(request.worker), json.dumps(told))
        halfway = (request.start_step + request.stop_step) // 2
        pauses = (
            request.worker == 1
            and request.segment < self.segments_of_worker_1 - 1
            and halfway > request.start_step
        )
        key = request.checkpoint_key if pauses else request.update_key
        reached = halfway if pauses else request.stop_step
        if request.new_optimizer_key is not None:
            self.count_rounds(request)
        samples = 10 * (reached - request.start_step)
        made = {"w": state["w"] if pauses else self.trained(state["w"], request)}
        if request.keeps is not None and not pauses:
            store_kept(self.store, request.keeps, made, ("w",))
        made["w"] = self.sent(made["w"], request)
        self.store.put(key, encode(made, {"samples": str(request.samples_before + samples)}))
        return messages.to_json(
            messages.TrainReply(
                outcome="continued-time" if pauses else "ok",
                next_step=reached,
                samples=samples,
                loss_sum=1.0 * (reached - request.start_step),
                train_s=self.train_s(request),
                peak_mb=300 + request.worker,
            )
        )

    def trained(self, w, request):
        """The weight after the two steps of a round."""
        terms = added_terms(self.store, request.terms, ("w",)) or AddedTerms(0.0, {})
        for _ in range(2):
            gradient = -(request.client + 1) / 2
            w = w - (gradient + terms.proximal * w + terms.shift.get("w", 0))
        return w

    def count_rounds(self, request):
        """A client's own optimizer counts its rounds; a checkpoint would carry it, too."""
        before = {"rounds": np.zeros((), np.int64)}
        if request.optimizer_key is not None:
            before = read_tensors(self.store, request.optimizer_key)
        counted = before["rounds"] + (request.segment == 0)
        self.own_rounds[request.client, request.round] = int(counted)
        self.store.put(request.new_optimizer_key, encode({"rounds": counted}))

    def score(self, arguments):
        request = messages.from_json(messages.ScoreRequest, arguments)
        weight = read_tensors(self.store, request.state_key)["w"][0]
        if request.model_key is not None:
            self.exported = weight
            self.store.put(request.model_key, b"a model file")
        return messages.to_json(self.scored(weight, request)) | {"peak_mb": 310}

    def scored(self, weight, wanted):
        """Four samples, two of them right, as a `ScoreRequest` or a `ScoreFirst` wants them."""
        return messages.SliceScore(samples=4, loss_sum=4 * self.loss_of(weight), correct=2)

    def collect(self, arguments):
        class Context:
            store = self.store
            clock = PhaseClock()

            def peak_mb(self):
                return 60

            def working_set_mb(self):
                return 64

        return messages.to_json(
            collect(messages.from_json(messages.CollectRequest, arguments), Context())
        )

import dataclasses
import json

import pytest

from disdel.errors import UsageError
from disdel.models import built_in
from disdel.protocol import messages
from disdel.types import Phases

NETWORK = messages.Network(
    runtime="tensorflow",
    model=built_in("cnn", input_shape=(28, 28, 1), classes=10),
    optimizer="adam",
    learning_rate=None,
    seed=0,
    threads=1,
)
MESSAGES = [
    messages.TrainRequest(
        network=NETWORK,
        worker=0,
        client=0,
        round=1,
        segment=0,
        attempt=0,
        batch_size=64,
        start_step=0,
        stop_step=10,
        samples_before=0,
        micro_batches=1,
        block_steps=32,
        heed_memory=True,
        shard_key="s",
        state_key="t",
        initialise=True,
        update_key="p",
        checkpoint_key="c",
        progress_key="g",
        terms=messages.StepTerms(
            proximal=0.1, anchor_key="t", correction="momentum", correction_key="k"
        ),
        tells_untrained=True,
    ),
    messages.TrainReply(
        outcome="ok",
        next_step=10,
        samples=640,
        loss_sum=1.5,
        train_s=0.1,
        peak_mb=400,
        phases=Phases(imported_ms=3, stored_ms=900),
    ),
    messages.CollectRequest(
        round=1,
        updates=(messages.Update(client=0, worker=0, attempt=0, key="p", samples=5, weight=0.5),),
        state_key="t",
        advance=messages.Advance(
            strategy="fedavgm",
            parameters={"beta": 0.9, "average": "equal"},
            mean_key="m",
            before_key="b",
            kept_key=None,
            new_kept_key="n",
        ),
    ),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_json(message):
    fields = json.loads(json.dumps(messages.to_json(message)))
    assert messages.from_json(type(message), fields | {"unknown": 1}) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_that_lacks_a_field_is_refused(message):
    fields = messages.to_json(message)
    required = next(
        field.name for field in dataclasses.fields(message) if field.default is dataclasses.MISSING
    )
    del fields[required]
    with pytest.raises(UsageError, match=f"not a {type(message).__name__}.*{required}"):
        messages.from_json(type(message), fields)


def test_a_request_of_another_version_is_refused():
    with pytest.raises(
        UsageError, match=f"speaks version 99 and this action version {messages.WIRE_VERSION}"
    ):
        messages.check_version(messages.Common(v=99, run="r", store="redis://"))

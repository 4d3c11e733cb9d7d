"""Counts in the node's state, where nothing else is wanted."""

import os

import numpy as np
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


def raise_it():
    return {}["missing"]


@app.query()
def query(message: Message, context: Context) -> Message:
    what = context.run_config["what"]
    first = context.node_config["partition-id"] == 0
    if what == "all raise" or (what == "raise" and first):
        raise_it()
    if what == "crash" and first:
        os._exit(1)
    if what == "memory" and first:
        np.ones(20 << 20)
    kept = context.state.metric_records.setdefault("kept", MetricRecord({"count": 0}))
    kept["count"] += 1
    return Message(RecordDict({"kept": kept}), reply_to=message)

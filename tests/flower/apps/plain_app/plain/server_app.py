"""Asks all nodes so often; the errors and last counts go to the file `out`, as JSON."""

import json
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    what, out = context.run_config["what"], Path(context.run_config["out"])
    if what == "server":
        raise RuntimeError("broken here")
    if what == "hang":
        out.touch()
        time.sleep(1000)
    errors, counts = [], []
    for number in range(1, context.run_config["asks"] + 1):
        content = RecordDict({"config": ConfigRecord({"server-round": number})})
        messages = [Message(content, node, "query") for node in grid.get_node_ids()]
        replies = list(grid.send_and_receive(messages))
        errors += [reply.error.code for reply in replies if reply.has_error()]
        counts = [reply.content["kept"]["count"] for reply in replies if reply.has_content()]
    out.write_text(json.dumps({"errors": errors, "counts": counts}))

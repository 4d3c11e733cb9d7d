"""What an executor is given to call: text in, text out, so that nothing of ours is pickled.

An executor's workers need disdel to be installed, for this function alone: an action brings the
library that it runs.
"""

from __future__ import annotations


def run(request: str) -> str:
    """Answer a request of `protocol/calls.py`; both are JSON."""
    # Some executors send the text of a function, without its module.
    import json
    import os

    from disdel.entry.answering import for_process

    return json.dumps(for_process(os.getpid()).answer(json.loads(request)))

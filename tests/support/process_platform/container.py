"""The process of an action: takes requests, one line of JSON each, and answers each by one.

usage: container.py FOLDER

What the action prints goes where standard error goes. The first line says whether it has started.
"""

import importlib.util
import json
import os
import sys
import traceback


def main(folder):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(fields):
        sys.stdout.flush()
        print(json.dumps(fields), file=answers, flush=True)

    sys.path.insert(0, folder)
    try:
        spec = importlib.util.spec_from_file_location("action", f"{folder}/__main__.py")
        action = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(action)
    except Exception:
        traceback.print_exc()
        answer({"started": False})
        return
    answer({"started": True})
    for line in sys.stdin:
        request = json.loads(line)
        os.environ.update(request["environment"])
        try:
            result = action.main(request["arguments"])
        except Exception as error:
            traceback.print_exc()
            result = {"error": str(error)}
        answer({"result": result})


main(sys.argv[1])

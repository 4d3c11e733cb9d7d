"""Run a Flower app as `flwr-simulation` does: python simulate.py APP_DIR NODES [KEY=VALUE...].

`simulated.json` is what it has made of both apps, in an environment with flwr[simulation]==1.42.0
and the frameworks of constraints.txt: python simulate.py ../../examples/flower 2 'out="told.json"'.
`flwr run` itself, as docs/flower.md shows it, has made the same of them, to all digits.
"""

import sys
from pathlib import Path

from flwr.app import Context, RecordDict
from flwr.common.config import get_fused_config_from_dir, get_project_config, parse_config_args
from flwr.simulation.run_simulation import _run_simulation
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supercore.telemetry import EventType

RUN, SERVER = 7, 1
ONE_CPU_EACH = {
    "client_resources": {"num_cpus": 1, "num_gpus": 0},
    "init_args": {"num_cpus": 2, "include_dashboard": False},
}


def main(folder, nodes, *overrides):
    folder = Path(folder).absolute()
    parts = get_project_config(folder)["tool"]["flwr"]["app"]["components"]
    run = Run.create_empty(RUN)
    run.primary_task_id, run.federation_id = 1, "@none/default"
    run.override_config = parse_config_args(list(overrides))
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, RUN, SERVER
    context = Context(
        run_id=RUN,
        node_id=SERVER,
        node_config={},
        state=RecordDict(),
        run_config=get_fused_config_from_dir(folder, run.override_config),
    )
    _run_simulation(
        num_supernodes=int(nodes),
        exit_event=EventType.FLWR_SIMULATION_RUN_LEAVE,
        client_app_attr=parts["clientapp"],
        server_app_attr=parts["serverapp"],
        server_app_context=context,
        app_dir=str(folder),
        run=run,
        is_app=True,
        backend_config=ONE_CPU_EACH,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

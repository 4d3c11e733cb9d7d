"""The `node` action: what a container sees of the machine that it runs on."""

from openwhisk_local.machine.cpus import usable_cpus


def main(_args):
    return {"cpus": usable_cpus()}

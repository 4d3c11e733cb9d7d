"""A one-machine OpenWhisk: the REST API on loopback, over processes with enforced limits.

It implements version 1 of OpenWhisk's controller and invoker as far as the routes in `api` go:
packages, actions, sequences, triggers, rules, invocations and activations. It knows one user,
`guest`. Containers are processes of this machine: limits are enforced, but an action is not
shielded from the files of the user who runs it. Start it with `python -m openwhisk_local` or
with the command `openwhisk-local`.

From a request inwards:

    rest/          transaction ids, errors, preflights, the key; which handler takes which request
    entities/      packages, actions, triggers, rules: what a PUT makes of them, and their store
    invoking/      from a request to work: single actions, sequences, triggers; and its records
    containers/    where work runs within the user memory: processes, their limits and their logs

Beside these: `replies`, OpenWhisk's own words; `limits`, what is allowed; `platform`, which puts
the parts together; `state`, what outlives a platform; `records`, who is running.
"""

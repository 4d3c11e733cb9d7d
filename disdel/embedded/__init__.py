"""A one-machine OpenWhisk: the REST API on loopback, over processes with enforced limits.

It implements version 1 of OpenWhisk's controller and invoker as far as the routes in `api` go:
packages, actions, sequences, triggers, rules, invocations and activations. It knows one user,
`guest`. Containers are processes of this machine: limits are enforced, but an action is not
shielded from the files of the user who runs it. Start it with `python -m disdel.embedded` or
through `disdel.platforms.embedded`.

From a request inwards:

    envelope, gate              transaction ids, errors, preflights, the key
    api, *_routes               which handler; what a path and a query say
    store, rulebook             entities and the rules between them
    packages, actions, rules    what a PUT makes of the old entity; values only
    invocations, firing         from a request to work, or to a sequence of it
    pool                        where work runs, within the user memory
    invoker, container, growth  one activation in one process group, its limits and its log
    isolation, cgroups          how memory is limited
    activations, state          what has happened, and what of all this outlives the platform
"""

"""A one-machine OpenWhisk: the REST API on loopback, over processes with enforced limits.

It implements version 1 of OpenWhisk's controller and invoker as far as the routes in `api` go:
packages, actions, invocations and activations. It knows one user, `guest`. Containers are
processes of this machine: limits are enforced, but an action is not shielded from the files of
the user who runs it. Start it with `python -m disdel.embedded` or through
`disdel.platforms.embedded`.
"""

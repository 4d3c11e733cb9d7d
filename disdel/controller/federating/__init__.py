"""Federated runs: of many clients, some train in each round, in turn in a few containers."""

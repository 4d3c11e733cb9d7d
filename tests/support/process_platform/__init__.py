"""A platform in one folder: each container of an action is a process of this machine.

`register(PROVIDER)` lets `--platform processes` name it. It is a whole one, with sentences, limits,
prices and an option of its own, and nothing outside this folder knows of it.
"""

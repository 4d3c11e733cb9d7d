"""What a process finds out about the machine or the container that it is in.

Standard library alone: these modules travel in the bundles of actions, and `container_memory`
lies beside the proxy.
"""

"""What a process finds out about the machine or the container that it is in.

All but `process_identity` have the standard library alone: they travel in the bundles of actions,
and `container_memory` lies beside the proxy.
"""

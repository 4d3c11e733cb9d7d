"""Live memory growth on Kubernetes: an agent that resizes action pods when their proxies warn.

It covers pods that OpenWhisk's invoker made, and no others; it only ever grows them. `decide` is
pure, `pods` is all that talks to Kubernetes, `agent` all that reads the warnings.
"""

"""Live memory growth on Kubernetes: an agent that resizes action pods when their proxies warn.

It covers pods that OpenWhisk's invoker made, and no others; it only ever grows them. `decide` is
pure; `channel` is all that reads Redis and `check` what believes it; `pods` is all that knows what
Kubernetes' objects look like and `cluster` how to ask for them; `agent` puts them together.
"""

"""The cluster at scale: many machines as light processes, or some as whole proxies, with one Redis.

Run by `python -m bench.cluster [--machines 50] [--proxies 4] [--seconds 20] [--redis PROGRAM]`. Rules:
- A light machine is a process with the proxy's own code for its place in the cluster: the membership with its rounds, the shared
  limit, an upstream and a key-value zone with `sync`. It has no listener and no HTTP.
- The same figures of four light machines and of four whole proxies show whether the light ones stand for whole ones.
- The load of Redis is its own CPU time (`INFO cpu`), which does not depend on the rest of the machine. Times of news do.
"""

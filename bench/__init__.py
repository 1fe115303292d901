"""What a request costs: nginx, this proxy and the peers, side by side, in turn, on the same upstream.

Run by `make bench`, or `python -m bench [scenario …] [--rounds N] [--seconds S]`. Rules:
- Every contender runs with 2 workers, an access log where it has one, and the same six upstream servers.
- CPU is user and system time of all processes of the contender, from /proc, divided by the requests that `wrk` counted.
- Contenders take turns within a round; what is reported is the median over the rounds of the ratio to nginx in the same round,
  because a shared machine's speed drifts.
- A missing tool or peer is named in one line and left out.
"""

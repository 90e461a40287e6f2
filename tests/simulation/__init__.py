"""Random histories on the real code: every service in one process, real PostgreSQL, a clock that we move, processes that die.

`make simulate SEEDS=n DAYS=m` plays n histories of m days and prints the first broken invariant with its seed. A seed replays exactly.
"""

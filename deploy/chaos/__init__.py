"""Two replicas of every service under load, while parts are restarted, killed, cut off and given new certificates: `make chaos`.

docs/operations/chaos.md says what is done, what must hold, and what was found.
"""

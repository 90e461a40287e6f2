"""Logging's tests on a database that is given: a stock PostgreSQL's, or a Citus coordinator's."""

"""Usage data: how much the models are used, as aggregates by hour, with a fixed list of fields (docs/usage.md). Never content.

fields      what is counted: the one list that the contract, the tables and the docs are checked against
features    what was used in a call, read off the shape of an interaction
counting    makes figures of calls, which are stored with them, and adds figures to both stores
folding     the job that takes what was stored and has it added
periods     the keys of pseudonyms, a UTC day each, and the end of a day: its key is gone, and its rows are cells of groups
reports     counts of deployments that send nothing else
queries     what operators and admins are shown

Two stores take the counts, which no statement joins and which share no key: billing, by organization (store/billing.py), and product
analytics, by pseudonym (store/analytics.py).
"""

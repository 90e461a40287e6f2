"""Sets of Cedar policies (https://docs.cedarpolicy.com): read, checked, decided by, explained, and tested against a table of cases.

Access control decides by one such set; `kept policy test` tests an operator's own with the same code, offline.

    sets          a set: its text, its hash, its decisions
    conditions    what a policy is made of
    explanations  which condition a denial came from, in words
    cases         the table that a compliance officer reads
    sufficiency   whether the table needs each condition
    folders       where a set lies, and that it is whole
"""

from kept.policies.cases import Failure, Table, read_table
from kept.policies.explanations import Explanation
from kept.policies.folders import PolicyFolder
from kept.policies.sets import Entity, PolicyError, PolicySet, Verdict
from kept.policies.sufficiency import needed_by

__all__ = [
    "Entity",
    "Explanation",
    "Failure",
    "PolicyError",
    "PolicyFolder",
    "PolicySet",
    "Table",
    "Verdict",
    "needed_by",
    "read_table",
]

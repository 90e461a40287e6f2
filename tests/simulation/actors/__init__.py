"""Those who act in a history, through the contracts alone.

What they are told goes into the model; whether it is true is for the invariants.
"""

"""The audit log: entries, their places in the tree, the heads and the keys that sign them, and how decisions get in."""

"""Grants: who may ask for what, who decides, what a grant covers, how it ends, and what is opened under one. A rule a module."""

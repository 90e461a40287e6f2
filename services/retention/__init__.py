"""The retention service: rules, holds, retention runs, erasures and the certificates that prove them. It has no prompt and no key."""

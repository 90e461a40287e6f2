"""The container image: one for all services, small, the same byte for byte from the same inputs. README.md says how and why."""

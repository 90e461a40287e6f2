"""Proves, without a cluster, that what the manifests deploy runs: `make deploy-proof`."""

"""Renders kustomizations as `kustomize build` does, as far as the manifests here go. What they do not use is refused, never guessed.

It is here because the check has to run where there is neither kubectl nor kustomize. Where there is one, the two are compared
(deploy/check/programs.py), so that a difference shows.
"""

from deploy.check.kustomize.build import build
from deploy.check.kustomize.resource import Resource, Unsupported

__all__ = ["Resource", "Unsupported", "build"]

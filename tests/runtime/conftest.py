"""A real API server for the shell: the finalizers, status subresource and conflicts of a fake prove nothing."""

from controlplane import create, namespace

__all__ = ["create", "namespace"]

"""Keeps a number of Tencent Cloud spot instances alive, as a Kubernetes operator."""

__version__ = "0.1.0"

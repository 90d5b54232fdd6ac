"""Worker processes for this room's tests: those of ``tests/graph``."""

from tests.graph.conftest import _clusters, processes, three

__all__ = ["_clusters", "processes", "three"]

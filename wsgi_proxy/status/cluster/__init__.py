"""The machines of a cluster in the status: the figures that each publishes, and those that all of them show."""

from .figures import ClusterView
from .publishing import Publisher

__all__ = ["ClusterView", "Publisher"]

"""The node: the process that runs it all, and `connect`, which gives a program the platform without one."""

from chainstrata.node.platform import Platform, connect

__all__ = ["Platform", "connect"]

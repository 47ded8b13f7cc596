"""A gateway between users of an HPC centre and their Dask clusters.

Users ask over HTTPS for clusters; the gateway submits, watches and ends the
batch jobs as those users, and carries their traffic through one public port.
docs/architecture.md is the map of this package.
"""

__version__ = "0.1.0"

"""What all batch systems share: the interface that clusters see, and the tools that drivers are made of.

base.py is the interface, watch.py is how drivers report what they learn of
jobs. Each batch system is a folder of its own; what Slurm and PBS have in common
is in batch/. Nothing here knows of clusters, of the proxy or of the store.

May import: config.
"""

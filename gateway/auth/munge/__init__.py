"""MUNGE: who somebody is on the nodes of the cluster.

May import: auth, config.
"""

"""Commands on the database itself: to look at it and copy it at any time, to change it while no gateway runs.

May import: config, store.
"""

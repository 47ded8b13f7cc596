"""The one driver of batch systems with commands: what differs between them is said by a dialect.

dialect.py is what a batch system has to say of itself; driver.py brings it to
life. Nothing here names Slurm or PBS.

May import: backends, backends.launcher, config.
"""

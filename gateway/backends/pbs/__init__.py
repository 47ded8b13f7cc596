"""PBS (OpenPBS, PBS Pro): its options, the arguments of its commands, and what they print.

dialect.py is the language, of which backend.py makes a backend.

May import: backends, backends.batch, backends.launcher, config.
"""

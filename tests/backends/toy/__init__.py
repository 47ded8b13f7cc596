"""A batch system of a site's own, all of it in this folder: as one may be added without a change to the gateway.

A configuration names `toy.backend.ToyBackend`; nothing else knows of it. Its
jobs are processes that the three commands in commands.py look after. The tests
install the folder where root alone can change it, as a site would.
"""

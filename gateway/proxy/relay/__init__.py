"""Bytes both ways between sockets: all established pairs in one task, on one epoll.

epoll_loop.py calls watchers when their sockets are ready; relay.py is the
watcher of a pair.

May import: no other room.
"""

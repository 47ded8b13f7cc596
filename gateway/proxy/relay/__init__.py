"""Bytes both ways between sockets: all established pairs in one task, on one epoll.

epoll_loop.py calls watchers when their sockets are ready, in turns whose length
turn_policy.py decides; relay.py is the watcher of a pair, which borrows from
pipes.py.

May import: no other room.
"""

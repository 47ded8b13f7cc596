"""The process as a whole: what systemd is told, and when Python collects garbage.

May import: no other room.
"""

"""Durable records of clusters and submissions, encrypted and sealed, in SQLite or PostgreSQL.

writer.py is what others use: it commits in groups, in a thread of its own.

May import: store.migrations.
"""

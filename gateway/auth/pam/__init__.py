"""PAM: names and passwords as this machine knows them.

May import: auth, config.
"""

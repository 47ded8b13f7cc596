"""JupyterHub: its users' tokens, and logins with it.

May import: auth, config.
"""

"""Kerberos: tickets of the site's realm, and which account a principal is.

May import: auth, config.
"""

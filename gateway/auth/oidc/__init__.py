"""OpenID Connect: logins with the site's issuer, and access tokens that it has signed.

May import: auth, config.
"""

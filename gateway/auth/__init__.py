"""Who asks: authenticators, and the cookies that spare asking them every time.

An authenticator is a config class with behaviour; authenticator.py says what a
site's own has to do.

May import: config, store.
"""

"""The small program that acts as the user, and the gateway's side of the conversation with it.

program.py is what sudo runs; it, and all that it imports (rules, directories,
settings), does with the standard library, since it starts anew for each
submission. client.py is for the gateway.

May import: backends.
"""

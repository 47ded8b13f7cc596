"""From a configuration file to frozen values, or to one message with every mistake.

load.py is the way from files to `Config`; fields.py is what option classes are
made with. Classes of backends and authenticators are found by their dotted
names (registry.py), so that nothing here imports them.

May import: no other room.
"""

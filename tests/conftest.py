"""What holds for all tests."""

import signal

# Whoever runs them in the background of a script (as CI does) starts them with SIGINT ignored. Every job that a test
# starts would inherit that, and not end at it: the gateway itself hears SIGINT, so that its jobs have the default.
signal.signal(signal.SIGINT, signal.default_int_handler)

"""Jobs that are plain processes of this machine.

Files and processes are all there is: driver.py says how jobs outlive the
gateway and are found again.

May import: backends, config.
"""

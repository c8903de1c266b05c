"""Where lines are stored.

base.py says what a sink is; each other module is one of them, imported when it is used, so that
only the driver in use has to be installed.
"""

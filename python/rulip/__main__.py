"""`python -m rulip`.

Lives here: the call. Does not live here: the command line (command_line.py).
Thread: the main one. Invariant: nothing but that call, for it shows in no traceback.
"""

from rulip.command_line import main

main()

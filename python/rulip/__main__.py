"""`python -m rulip`: see command_line.py."""

from rulip.command_line import main

main()

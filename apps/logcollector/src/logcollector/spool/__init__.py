"""The local spool: lines wait on this machine's disk until the sink has them.

record.py is the format, files.py the folder, stage.py its place between connections and writers.
"""

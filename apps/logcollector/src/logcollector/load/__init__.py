"""The load generator: many senders that check every answer. `python -m logcollector.load`."""

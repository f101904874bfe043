"""How fast the library is, measured beside what a user would otherwise write or pick: ``python -m benchmarks.run``.

Nothing in the library imports this package, and nothing here changes what the library computes.
"""

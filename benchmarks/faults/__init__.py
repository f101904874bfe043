"""A seeded campaign of faults against the library as a user runs it: ``make faults``."""

"""Phantoms: simulated brain slices whose people, severity and atrophied tissue are known."""

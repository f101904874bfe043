"""Phantoms: simulated brain slices whose people, severity and atrophied tissue are known."""

from mri_aug.data.phantom.people import Scan, load_phantoms, make_phantoms, make_subject

__all__ = ["Scan", "load_phantoms", "make_phantoms", "make_subject"]

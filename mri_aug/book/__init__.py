"""What the pages of the book are made with: profiles, figures, diagrams, tables. Importing it needs no torch."""

from mri_aug.book.profiles import PROFILES, part_sizes, profile_parameters

__all__ = ["PROFILES", "part_sizes", "profile_parameters"]

"""Augmentation policies by name: how training images are transformed as they are read."""

from mri_aug.policies.notes import POLICY_DRAWS, POLICY_NOTES
from mri_aug.policies.registry import POLICIES, Policy, make_policy

__all__ = ["POLICIES", "POLICY_DRAWS", "POLICY_NOTES", "Policy", "make_policy"]

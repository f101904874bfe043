"""Augmentation policies by name: how training images are transformed as they are read."""

from mri_aug.policies.registry import POLICIES, POLICY_NOTES, Policy, make_policy

__all__ = ["POLICIES", "POLICY_NOTES", "Policy", "make_policy"]

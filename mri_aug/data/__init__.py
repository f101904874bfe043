"""Images, the people that they show, and how they are divided."""

from mri_aug.data.imageset import CLASS_NAMES, IMAGE_SIZE, ImageSet
from mri_aug.data.loading import load_images, take_subjects
from mri_aug.data.people import audit_split, recover_subjects
from mri_aug.data.splits import PROTOCOLS, Split, split

__all__ = [
    "CLASS_NAMES", "IMAGE_SIZE", "PROTOCOLS", "ImageSet", "Split", "audit_split", "load_images", "recover_subjects",
    "split", "take_subjects",
]  # fmt: skip

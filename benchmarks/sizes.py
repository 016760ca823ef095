"""How much each row does. The defaults are the published ones; the tests take smaller ones."""

from dataclasses import dataclass, field

from timing import Budget


@dataclass(frozen=True)
class Sizes:
    """Sides in pixels, counts of images, subjects and steps, and the budget of a row."""

    gan_size: int = 64
    gan_base_channels: int = 64
    gan_batch: int = 32
    synthetic_images: int = 256
    classifier_subjects: int = 64
    classifier_frames: int = 3
    classifier_batch: int = 32
    phantom_subjects: int = 4
    tracked_steps: int = 60
    matrix_side: int = 2048
    budget: Budget = field(default_factory=lambda: Budget(turns=15, seconds=40.0))

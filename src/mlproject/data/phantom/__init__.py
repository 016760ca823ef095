"""The nuchal phantom: seed-deterministic stand-in frames with known truth. A phantom, NOT clinical."""

from mlproject.data.phantom.frames import (
    PHANTOM_VERSION,
    Frame,
    limit_threads,
    render_counterfactual,
    render_frame,
    render_subject,
)
from mlproject.data.phantom.population import Subject, draw_subjects

__all__ = [
    "PHANTOM_VERSION",
    "Frame",
    "Subject",
    "draw_subjects",
    "limit_threads",
    "render_counterfactual",
    "render_frame",
    "render_subject",
]

"""`phantom_frames`: frames a second of one core against image formation written as its equations read."""

from plain_phantom import render_plain
from sizes import Sizes
from timing import Budget, Row, in_turns, rate_row

from mlproject.data.phantom import draw_subjects, render_subject

FRAMES = 2


def phantom_frames(sizes: Sizes) -> Row:
    """Frames a second; both draw the same frames of the same subjects."""
    subjects = draw_subjects(0, sizes.phantom_subjects)

    def ours() -> None:
        for subject in subjects:
            render_subject(0, subject, FRAMES)

    def reference() -> None:
        for subject in subjects:
            for frame in range(FRAMES):
                render_plain(0, subject, frame)

    seconds = in_turns(ours, reference, Budget(sizes.budget.turns, sizes.budget.seconds / 2))
    return rate_row(*(len(subjects) * FRAMES / time for time in seconds), "frames/s")

"""Does synthetic ultrasound data help a classifier, how much of it, and is it safe to release?"""

__version__ = "0.1.0"

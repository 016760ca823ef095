"""The kinds of data, which every data set, model and run names."""

PHANTOM, CLINICAL, USER, SYNTHETIC = "phantom_not_clinical", "clinical_frames", "user_images", "synthetic"
DATA_KINDS = (PHANTOM, CLINICAL, USER, SYNTHETIC)
# pixels of these may be stored with a run and shown to anyone; others are licensed or a person's own
OPEN_KINDS = (PHANTOM, SYNTHETIC)


def label_limit(kind: str) -> str:
    """What the labels of data of a kind are not, in a sentence for reports and cards."""
    if kind in (PHANTOM, CLINICAL):
        return "Label: proxy, not a clinical outcome."
    return "Label: as it came with the images; its rule is not known."

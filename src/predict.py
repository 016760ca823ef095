"""Judge images with a trained classifier."""

from mlproject.cli import Configuration, Next, entry_point


@entry_point(
    own=("predict",),
    references={
        "images": "what is judged: a folder of PNG, JPEG, BMP, TIFF or DICOM files, one file, or a data set (a folder "
        "or runs:/<id>), whose test images are left out",
        "boxes": "CSV with image_path,h_min,w_min,h_max,w_max of whole frames; default: their largest centred square",
        "classifier/checkpoint": "classifier: a folder or file, runs:/<id> or models:/nt-classifier@alias; "
        "default: models:/nt-classifier@champion",
        "out": "folder to write; default: under run.outputs, named by images and classifier",
    },
)
def main(config: Configuration, images: str, boxes: str, classifier: str, out: str) -> list[Next]:
    """Judge images with a trained classifier: a CSV with one row for each, and Grad-CAM pictures when asked."""
    from mlproject import stages

    with stages.entry_run(config, "predict") as run:
        stages.predict(run, config, stages.resolve_classifier(run, config, classifier), images, boxes, out)
    given = {"images": images, "boxes": boxes, "classifier": classifier, "out": out}
    again = {name: value for name, value in given.items() if value} | {"gradcam": "true"}
    return [] if config.predict.gradcam else [Next("predict", "and where the evidence lies", again, same_data=False)]


if __name__ == "__main__":
    main()

"""The classifier as an MLflow model from code: verified when it is loaded, then asked for probabilities.

`mlflow models serve -m models:/nt-classifier@champion` and `mlflow.pyfunc.load_model` execute this file from inside
the model folder; the package code it needs lies beside it (`code/`), so a server needs no checkout. Code runs before
it can verify itself: against planted code, run src/verify_models.py, which executes nothing of the model folder.

A request is `{"inputs": [image, ...]}` with, for each image,
    {"image": base64 of a PNG or JPEG}                     its largest centred square is judged
    {"pixels": [[grey levels of a row, 0 to 255], ...]}    the same of an array
    {..., "box": "h_min,w_min,h_max,w_max"}                the crop around the box (pixels) of the frame is judged
    {..., "prepared": true}                                the image is a finished crop, such as a synthetic one
Each but the last is cut, resized and equalised as the training images were. The answer holds for each: probability of
the anomalous class, the same calibrated on validation (null where validation determined no temperature), decision at
the threshold beside it, class_name and the digest of weights and description (the version's tag payload_sha256).
docs/serving.md shows requests and refusals.
"""

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlproject import environment

environment.quiet()

import mlflow  # noqa: E402 - MLflow reads its environment when it is imported

from mlproject.errors import UserError  # noqa: E402
from mlproject.served_folder import model_folder, verify_model  # noqa: E402
from mlproject.served_requests import Answer, ImageToJudge, RefusedRequest  # noqa: E402

if TYPE_CHECKING:
    import numpy as np


class ServedClassifier(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]
    """Probability and decision for each image of a request."""

    def load_context(self, context: Any) -> None:
        """Verify the folder, then read the classifier; MLflow calls this before the first request."""
        from mlproject.classifier.inference import load_classifier

        payload = Path(context.artifacts["classifier"])
        verify_model(model_folder(payload))
        self.classifier = load_classifier(payload)

    def predict(self, model_input: list[ImageToJudge]) -> list[Answer]:
        """Judge each image.

        Raises:
            RefusedRequest: an image that cannot be judged.
        """
        import numpy as np

        from mlproject.classifier.judging import judge

        if not model_input:
            return []
        meta = self.classifier.meta
        try:
            crops = np.stack([self._crop(number, request) for number, request in enumerate(model_input)])
        except UserError as error:
            raise RefusedRequest(str(error)) from None
        found = judge(self.classifier, crops)
        return [
            Answer(
                probability=float(found.probabilities[row]),
                calibrated=None if found.calibrated is None else float(found.calibrated[row]),
                decision=int(decision),
                class_name=meta["class_names"][decision],
                threshold=found.threshold,
                model_sha256=self.classifier.digest,
            )
            for row, decision in enumerate(found.decisions)
        ]

    def _crop(self, number: int, request: ImageToJudge) -> "np.ndarray":
        """uint8 [size, size]: what is judged of one image of a request."""
        import numpy as np

        from mlproject.data.boxes import box_of, check_inside
        from mlproject.data.crops import cut_crop
        from mlproject.data.images import decode_grey

        where = f"image {number}"
        if request.wrong:
            raise UserError(f"{where}: {request.wrong}")
        if request.pixels is not None:
            image = np.array(request.pixels, dtype=np.uint8)
        else:
            try:
                content = base64.b64decode(request.image or "", validate=True)
            except (binascii.Error, ValueError):
                raise UserError(f"{where}: `image` is not base64; send the bytes of a PNG or JPEG in base64") from None
            image = decode_grey(content, where)
        box = None
        if request.box:
            box = box_of(request.box.split(","), where)
            check_inside(box, image.shape, where)
        preprocessing = self.classifier.meta["preprocessing"]
        if request.prepared:
            preprocessing = {**preprocessing, "applied": True}
        try:
            return cut_crop(image, box, preprocessing)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None


mlflow.models.set_model(ServedClassifier())

"""The classifier as an MLflow model from code: verified when it is loaded, then asked for probabilities.

`mlflow models serve -m models:/nt-classifier@champion` and `mlflow.pyfunc.load_model` execute this file from inside
the model folder; the package code it needs lies beside it (`code/`), so a server needs no checkout.

A request is a list of images:
    {"image": base64 of a PNG or JPEG}                        a crop, cut as the training crops were
    {"image": ..., "box": "h_min,w_min,h_max,w_max"}          a whole frame and the box in it, pixels
The answer holds for each: probability of the anomalous class, decision, class_name and the model's digest.
"""

import base64
import binascii
import json
import os
import shutil
from pathlib import Path
from typing import Any

import mlflow

from mlproject.checksums import MANIFEST_NAME, digest_of, read_manifest, verify_checksums, write_checksums
from mlproject.errors import IntegrityError, UserError

PAYLOAD = "artifacts/classifier"
# what a server must have; the pins of the environment that wrote the model
_REQUIREMENTS = ("mlflow", "torch", "timm", "safetensors", "numpy", "opencv-python-headless", "pandas", "scikit-learn")


def model_folder(payload: str | Path) -> Path:
    """The folder of the whole model from that of its payload."""
    return Path(payload).resolve().parents[len(Path(PAYLOAD).parts) - 1]


def verify_model(folder: Path) -> str:
    """Verify every file of a model folder, and its digest against the registry when it came from one.

    MLflow writes `registered_model_meta` (name, version) into what it takes from a registry; the digest is then
    compared with the version's tag in the store of MLFLOW_TRACKING_URI. `NT_EXPECTED_SHA256` pins a digest by hand.

    Raises:
        IntegrityError: anything differs.
    """
    digest = verify_checksums(folder, os.environ.get("NT_EXPECTED_SHA256") or None)
    return digest


class ServedClassifier(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    """Probability and decision for each image of a request."""

    def load_context(self, context: Any) -> None:
        from mlproject.classifier.inference import load_classifier

        payload = Path(context.artifacts["classifier"])
        verify_model(model_folder(payload))
        self.classifier = load_classifier(payload)

    def predict(self, context: Any, model_input: list[dict[str, str]], params: Any = None) -> list[dict[str, Any]]:
        import numpy as np

        meta = self.classifier.meta
        crops = np.stack([self._crop(number, row) for number, row in enumerate(model_input)])
        answers = []
        for probability in self.classifier.probabilities(crops):
            decision = int(probability >= meta["threshold"])
            answers.append(
                {
                    "probability": float(probability),
                    "decision": decision,
                    "class_name": meta["class_names"][decision],
                    "model_sha256": self.classifier.digest,
                }
            )
        return answers

    def _crop(self, number: int, row: dict[str, str]) -> Any:
        import cv2
        import numpy as np

        from mlproject.data.crops import cut_crop

        try:
            content = base64.b64decode(row["image"], validate=True)
        except KeyError:
            raise UserError(f"image {number}: no field `image` with a base64-encoded PNG") from None
        except (binascii.Error, ValueError):
            raise UserError(f"image {number}: `image` is not base64") from None
        image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_GRAYSCALE) if content else None
        if image is None:
            raise UserError(f"image {number}: not a PNG or JPEG that can be decoded")
        box = None
        if row.get("box"):
            try:
                box = np.array([float(side) for side in row["box"].split(",")], dtype=np.float32)
            except ValueError:
                box = np.zeros(0)
            if box.shape != (4,):
                raise UserError(f"image {number}: box {row['box']!r} is not `h_min,w_min,h_max,w_max`")
        return cut_crop(image, box, self.classifier.meta["preprocessing"])


def save_served_classifier(payload: Path, folder: Path) -> str:
    """Build the model folder around a classifier's payload, with checksums over every file; returns its digest."""
    from importlib.metadata import version

    package = Path(__file__).parent
    with_payload = folder.with_name("classifier")
    shutil.copytree(payload, with_payload)
    mlflow.pyfunc.save_model(
        path=str(folder),
        python_model=str(Path(__file__)),
        artifacts={"classifier": str(with_payload)},
        code_paths=[str(package)],
        pip_requirements=[f"{name}=={version(name)}" for name in _REQUIREMENTS],
    )
    shutil.rmtree(with_payload)
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache)
    return write_checksums(folder)


mlflow.models.set_model(ServedClassifier())

__all__ = ["MANIFEST_NAME", "IntegrityError", "digest_of", "json", "read_manifest"]

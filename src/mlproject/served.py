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
import json
import os
import shutil
import warnings
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlproject import environment

environment.quiet()

import mlflow  # noqa: E402 - MLflow reads its environment when it is imported
import pydantic  # noqa: E402
import yaml  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE  # noqa: E402

from mlproject.checksums import verify_checksums, write_checksums  # noqa: E402
from mlproject.errors import IntegrityError, UserError  # noqa: E402
from mlproject.released import check_released  # noqa: E402
from mlproject.signing import PUBLIC_KEY, check_signature  # noqa: E402

if TYPE_CHECKING:
    import numpy as np

PAYLOAD = "artifacts/classifier"
PINNED_DIGEST = "NT_EXPECTED_SHA256"
ORIGIN = "registered_model_meta"
# where an image of a request notes what is wrong with it
_WRONG = "refused because"
# what a server imports; pinned to the versions of the environment that wrote the model
_REQUIREMENTS = (
    "mlflow",
    "torch",
    "timm",
    "safetensors",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "scipy",
    "scikit-learn",
    "ImageHash",
    "pydantic",
    "PyYAML",
)


class ImageToJudge(pydantic.BaseModel):
    """One image of a request.

    What is wrong with it is noted, not raised: MLflow's own refusal would repeat the whole request, pixels and all.
    """

    model_config = pydantic.ConfigDict(extra="allow")

    image: str | None = None
    pixels: list[list[int]] | None = None
    box: str | None = None
    prepared: bool | None = None

    @pydantic.model_validator(mode="before")
    @classmethod
    def _note_what_is_wrong(cls, given: Any) -> Any:
        wrong = _wrong_with(given, tuple(cls.model_fields)) if isinstance(given, dict) else ""
        return {_WRONG: wrong} if wrong else given

    @property
    def wrong(self) -> str:
        """What is wrong with the request, "" when it can be judged."""
        return str((self.model_extra or {}).get(_WRONG, ""))


class Answer(pydantic.BaseModel):
    """What the classifier says of one image."""

    probability: float
    calibrated: float | None = None
    decision: int
    class_name: str
    threshold: float
    model_sha256: str


class RefusedRequest(MlflowException):
    """A request that cannot be judged: status 400 of a server, in these words alone.

    The server puts the whole request in front of the message of an exception, which would send every pixel back; the
    message of this one stays as it was.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=INVALID_PARAMETER_VALUE)

    def __setattr__(self, name: str, value: object) -> None:
        if name != "message" or "message" not in self.__dict__:
            super().__setattr__(name, value)


def _wrong_with(given: dict[str, Any], known: tuple[str, ...]) -> str:
    """What is wrong with one image of a request; "" when nothing is."""
    if unknown := sorted(set(given) - set(known)):
        return f"unknown key {', '.join(unknown)[:100]!r}; known: {', '.join(known)}"
    given = {key: value for key, value in given.items() if value is not None}
    if ("image" in given) == ("pixels" in given):
        return "give either `image` (base64 of a PNG or JPEG) or `pixels` (rows of grey levels)"
    for key, kind, expected in (
        ("image", str, "text: base64 of a PNG or JPEG"),
        ("box", str, "text: `h_min,w_min,h_max,w_max` in pixels"),
        ("prepared", bool, "true or false"),
    ):
        if key in given and not isinstance(given[key], kind):
            return f"`{key}` must be {expected}; found {type(given[key]).__name__}"
    if "pixels" in given and (wrong := _wrong_with_pixels(given["pixels"])):
        return wrong
    return "a prepared crop has no box" if given.get("prepared") and "box" in given else ""


def _wrong_with_pixels(pixels: Any) -> str:
    rows = pixels if isinstance(pixels, list) else []
    if not rows or not all(isinstance(row, list) and row for row in rows):
        return "`pixels` must be a list of rows, each a list of grey levels"
    if len({len(row) for row in rows}) > 1:
        return "the rows of `pixels` differ in length"
    # `type`, because True is an int
    if not all(type(level) is int and 0 <= level <= 255 for row in rows for level in row):
        return "`pixels` must be whole numbers from 0 to 255"
    return ""


def model_folder(payload: str | Path) -> Path:
    """The folder of the whole model from that of its payload."""
    return Path(payload).resolve().parents[len(Path(PAYLOAD).parts) - 1]


def verify_model(folder: Path) -> str:
    """Verify a model folder and return its digest, by all that is known of it.

    Its own manifest, always. `NT_EXPECTED_SHA256`, where it is set: the digest of the folder, pinned by whoever
    started the server. Otherwise, where MLflow's `registered_model_meta` says which registered version the folder is:
    that version's tag `sha256` in the registry that MLflow is set to, and the digest in registry/released.json if the
    version was released and a project folder is at hand (see `released`). Where `NT_PUBLIC_KEY` names a public key, its
    signature as well (see `signing`).

    Raises:
        IntegrityError: anything differs, or the registry that the folder came from does not answer.
    """
    pinned = os.environ.get(PINNED_DIGEST)
    digest = verify_checksums(folder, pinned or None)
    check_signature(folder, os.environ.get(PUBLIC_KEY, ""))
    if pinned or not (folder / ORIGIN).is_file():
        return digest
    name, number, tags, run_id = _registered(folder)
    if tags.get("sha256") != digest:
        raise IntegrityError(
            f"{name} version {number}: {folder} has the digest {digest[:16]}…, registered was "
            f"{tags.get('sha256', 'none')[:16]}…; nothing of it is loaded"
        )
    check_released(name, number, run_id, digest)
    return digest


def _registered(folder: Path) -> tuple[str, str, dict[str, str], str | None]:
    """Name, version, tags and run of the registered version that `folder` was taken from."""
    uri = mlflow.get_registry_uri()
    try:
        if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
            raise FileNotFoundError(f"{uri} does not exist")  # MLflow would make an empty one
        origin = yaml.safe_load((folder / ORIGIN).read_text(encoding="utf-8"))
        found = mlflow.MlflowClient().get_model_version(origin["model_name"], str(origin["model_version"]))
    except Exception as error:  # a registry that is away raises many kinds, and none of them is a pass
        reason = " ".join(str(error).split())[:200]
        raise IntegrityError(
            f"{folder}: the registry it came from does not answer ({reason}); set MLFLOW_TRACKING_URI, or "
            f"{PINNED_DIGEST} to the digest that the model must have"
        ) from None
    return found.name, str(found.version), dict(found.tags), found.run_id


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


def save_served_classifier(payload: Path, folder: Path) -> str:
    """Build the model folder around a classifier's payload, with checksums over every file; returns its digest.

    Raises:
        IntegrityError: the payload does not verify.
    """
    verify_checksums(payload)
    description = json.loads((payload / "classifier.json").read_text(encoding="utf-8"))
    with_payload = folder.with_name("classifier")
    shutil.copytree(payload, with_payload)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(Path(__file__)),
            artifacts={"classifier": str(with_payload)},
            code_paths=[str(Path(__file__).parent)],
            # given, not inferred: inference would load the model in another process and ask the network
            pip_requirements=[f"{name}=={installed_version(name)}" for name in _REQUIREMENTS],
            metadata={key: description.get(key) for key in ("data_kind", "data_digest", "mix", "seed")},
        )
    shutil.rmtree(with_payload)
    _leave_out_this_machine(folder / "MLmodel")
    _keep_bytecode_out(folder)
    return write_checksums(folder)


def _leave_out_this_machine(description: Path) -> None:
    """Replace the absolute paths that MLflow notes in MLmodel, and does not read again, by those in the folder."""
    content = yaml.safe_load(description.read_text(encoding="utf-8"))
    flavor = content["flavors"]["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    description.write_text(yaml.safe_dump(content), encoding="utf-8")


def _keep_bytecode_out(folder: Path) -> None:
    """Put an empty file where Python would keep bytecode.

    The first import from the folder would otherwise add files that the checksums do not list, and bytecode planted
    there would run instead of the source that they do list.
    """
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache)
    for parent in {source.parent for source in folder.rglob("*.py")}:
        (parent / "__pycache__").touch()


mlflow.models.set_model(ServedClassifier())

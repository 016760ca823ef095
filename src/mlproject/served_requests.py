"""What a server takes and gives: one image of a request, the answer to it, and the refusal in words."""

from typing import Any

from mlproject import environment

environment.quiet()

import pydantic  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402 - MLflow reads its environment when it is imported
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE  # noqa: E402

# where an image of a request notes what is wrong with it
_WRONG = "refused because"


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

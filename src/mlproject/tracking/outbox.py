"""What a run has for the store: kept in its order until the store takes it, while the work goes on."""

import sys
import time
from collections.abc import Mapping

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from mlproject import remote
from mlproject.errors import UserError, one_line
from mlproject.journal import Entry
from mlproject.remote import at_once

_BATCH = 1000  # metrics in one request, MLflow's limit
_SECONDS_BETWEEN_FLUSHES = 5.0
_SECONDS_BETWEEN_QUESTIONS = 15.0  # to a store that did not take what it was given
_ATTEMPTS = 4


class Outbox:
    """Metrics and pictures of one run on their way to the store at `uri`."""

    def __init__(self, uri: str, client: MlflowClient, run_id: str) -> None:
        self._uri, self._client, self._run_id = uri, client, run_id
        self._metrics: list[Metric] = []
        self._images: list[tuple[int, str, np.ndarray]] = []
        self._offered = time.monotonic()
        self._refused = False

    def add(self, entry: Entry) -> None:
        """Keep the values of a step, and hand over what is kept when enough of it or of time has gathered."""
        self._keep(entry.step, entry.values, entry.time_ms)
        since = time.monotonic() - self._offered
        if self._refused:
            due = since > _SECONDS_BETWEEN_QUESTIONS
        else:
            due = len(self._metrics) >= _BATCH or since > _SECONDS_BETWEEN_FLUSHES
        if due:
            self._offer()

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """As `add`, from any thread: the values wait until the work itself adds something."""
        self._keep(step, values, time.time_ns() // 1_000_000)

    def add_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Keep a picture, uint8 [h, w] or [h, w, 3], and hand it over if the store takes it."""
        self._images.append((step, name, np.array(image)))
        if not self._refused:
            self._offer()

    def flush(self) -> None:
        """Hand over everything that is kept, and wait for it, minutes for a server that is away.

        Raises:
            UserError: the store refuses it, after several attempts.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._send()
                break
            except MlflowException as error:
                # MLflow itself has tried for minutes
                if remote.gives_no_answer(self._uri, error):
                    raise remote.gone(self._uri, error) from error
                if attempt == _ATTEMPTS:
                    kept = f"{len(self._metrics)} metrics of run {self._run_id}"
                    raise UserError(f"{kept} cannot be stored: {one_line(error, 200)}") from error
                time.sleep(0.2 * 2**attempt)
        self._offered, self._refused = time.monotonic(), False

    def _keep(self, step: int, values: Mapping[str, float], time_ms: int) -> None:
        self._metrics += [Metric(key, value, time_ms, step) for key, value in values.items()]

    def _offer(self) -> None:
        """Hand over what is kept if the store takes it now, and keep it otherwise: the work goes on meanwhile."""
        try:
            with at_once():
                self._send()
        except MlflowException as error:
            if not self._refused:
                reason = one_line(error, 200)
                print(f"warning: the tracking store takes nothing now, the work goes on ({reason})", file=sys.stderr)
            self._refused = True
        else:
            if self._refused:
                print("the tracking store has taken everything that was kept for it", flush=True)
            self._refused = False
        self._offered = time.monotonic()

    def _send(self) -> None:
        """Everything that is kept, in its order.

        A batch is kept until the store has it: an interruption in between sends it again, and MLflow keeps an
        identical metric once.
        """
        while self._metrics:
            batch = self._metrics[:_BATCH]
            self._client.log_batch(self._run_id, metrics=batch)
            del self._metrics[: len(batch)]
        while self._images:
            step, name, image = self._images[0]
            self._client.log_image(self._run_id, image, key=name, step=step)
            del self._images[0]

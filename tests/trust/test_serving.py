"""The running server: what docs/serving.md shows is what it does, under 8 clients at once as well."""

import base64
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from model_server import Server

from mlproject import tracking
from mlproject.config import PROJECT_ROOT
from mlproject.data.images import encode_png

pytestmark = pytest.mark.slow

DOCUMENT = PROJECT_ROOT / "docs" / "serving.md"
BEGIN, END = "<!-- refusals: written by tests/trust/test_serving.py -->", "<!-- end of refusals -->"
PORT_IN_DOCUMENT = "127.0.0.1:5001"
FRAME = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
IMAGE = base64.b64encode(encode_png(FRAME)).decode()
HALF = base64.b64encode(encode_png(FRAME)[:3000]).decode()


@dataclass(frozen=True)
class Bad:
    """A request that must be refused: a body as text is sent as it is, anything else as JSON."""

    title: str
    body: object
    content_type: str = "application/json"


def one(**image: object) -> dict:
    return {"inputs": [image]}


BAD = (
    Bad("no JSON", '{"inputs": ['),
    Bad("an empty body", ""),
    Bad("a list without `inputs`", [{"pixels": [[0]]}]),
    Bad("another key in place of `inputs`", {"instances": [{"pixels": [[0]]}]}),
    Bad("`inputs` is no list", {"inputs": {"pixels": [[0]]}}),
    Bad("an image that is no object", {"inputs": ["scan.png"]}),
    Bad("another content type", "frame.png", "text/plain"),
    Bad("neither `image` nor `pixels`", one(box="10,10,60,80")),
    Bad("both `image` and `pixels`", one(image=IMAGE, pixels=[[0]])),
    Bad("an unknown key", one(image=IMAGE, bbox="10,10,60,80")),
    Bad("`image` is no text", one(image=5)),
    Bad("`image` is a path or an address", one(image="http://scanner.local/frame.png")),
    Bad("`image` is base64 of something else", one(image=base64.b64encode(b"no picture").decode())),
    Bad("`image` is half a file", one(image=HALF)),
    Bad("`image` is empty", one(image="")),
    Bad("the second of two images", {"inputs": [{"image": IMAGE}, {"image": "?"}]}),
    Bad("`pixels` is empty", one(pixels=[])),
    Bad("rows of different lengths", one(pixels=[[1, 2], [3]])),
    Bad("grey levels from 0 to 1", one(pixels=[[0.1, 0.9]])),
    Bad("a grey level of 256", one(pixels=[[0, 256]])),
    Bad("colours", one(pixels=[[[0, 0, 0]]])),
    Bad("a box of three sides", one(image=IMAGE, box="10,10,60")),
    Bad("a box that is no text", one(image=IMAGE, box=[10, 10, 60, 80])),
    Bad("a box in words", one(image=IMAGE, box="a,b,c,d")),
    Bad("an empty box", one(image=IMAGE, box="60,10,10,80")),
    Bad("a box that begins outside", one(image=IMAGE, box="-5,10,60,80")),
    Bad("a box that reaches out", one(image=IMAGE, box="10,10,60,500")),
    Bad("a box without an end", one(image=IMAGE, box="10,10,nan,80")),
    Bad("a prepared crop with a box", one(image=IMAGE, prepared=True, box="10,10,60,80")),
    Bad("a prepared crop of another size", one(image=IMAGE, prepared=True)),
    Bad("`prepared` is no truth value", one(image=IMAGE, prepared="yes")),
)


@pytest.fixture(scope="module")
def workshop(new_workshop):
    """A classifier that was evaluated on phantom frames, whose crops are cut around boxes; it is the champion."""
    workshop = new_workshop("serving")
    phantom = ("--data.source", "phantom", "--data.n_train", "6", "--data.n_val", "6", "--data.n_test", "6")
    workshop.succeed("prepare_data", *phantom, "--out", str(workshop.folder / "set"))
    data = ("--data", str(workshop.folder / "set"))
    workshop.succeed("train_classifier", *data, "--mix", "real", "--steps", "8")
    workshop.succeed("eval_classifier", *data)
    return workshop


@pytest.fixture(scope="module")
def server(workshop, tmp_path_factory):
    server = Server(workshop, tmp_path_factory.mktemp("server") / "log")
    try:
        assert server.wait(), server.log.read_text()[-3000:]
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def offline(workshop) -> pd.DataFrame:
    """The test frames with their boxes, and the probabilities that eval_classifier logged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", workshop.store)
        store = tracking.open_store("nt-synthetic")
        (run_id,) = store.find("eval_classifier", {})
        logged = pd.DataFrame(store.table(run_id, "test_predictions"))
    manifest = pd.read_csv(workshop.folder / "set" / "manifest.csv")
    return logged.merge(manifest[["image_path", "h_min", "w_min", "h_max", "w_max"]], on="image_path")


def test_200_requests_of_8_clients_get_the_probabilities_of_the_evaluation(workshop, server, offline):
    images = [
        base64.b64encode((workshop.folder / "set" / path).read_bytes()).decode() for path in offline["image_path"]
    ]
    boxes = offline[["h_min", "w_min", "h_max", "w_max"]].astype(int).astype(str).agg(",".join, axis=1).tolist()
    assert len(set(offline["probability"])) > 6, "equal answers would hide a mix-up"

    def ask(number: int) -> tuple[int, int, dict]:
        row = number % len(offline)
        return row, *server.ask(one(image=images[row], box=boxes[row]))

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(ask, range(200)))
    assert [status for _, status, _ in answers] == [200] * 200
    rows = [row for row, _, _ in answers]
    found = [answer["predictions"][0] for _, _, answer in answers]
    # the table of an evaluation keeps six decimals
    np.testing.assert_allclose(
        [answer["probability"] for answer in found], offline["probability"].to_numpy()[rows], atol=1e-6, rtol=0
    )
    version = workshop.client.get_model_version_by_alias("nt-classifier", "champion")
    assert {answer["model_sha256"] for answer in found} == {version.tags["payload_sha256"]}
    for answer in found:
        assert answer["decision"] == int(answer["probability"] >= answer["threshold"])


def test_every_command_in_the_document_runs_and_answers_as_shown(workshop, server, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (tmp_path / "frame.png").write_bytes(encode_png(np.pad(FRAME, ((0, 160), (0, 260)), mode="wrap")))
    (tmp_path / "crop.png").write_bytes(encode_png(FRAME[:32, :32]))
    shown = re.findall(r"```bash\n([^`]*curl[^`]*)```\n\n```json\n([^`]*)```", DOCUMENT.read_text(encoding="utf-8"))
    assert len(shown) >= 3
    for command, answer in shown:
        command = command.replace(PORT_IN_DOCUMENT, f"127.0.0.1:{server.port}")
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
        given, expected = json.loads(done.stdout), json.loads(answer)
        assert [sorted(row) for row in given["predictions"]] == [sorted(row) for row in expected["predictions"]]


def test_the_command_in_the_document_is_the_one_that_serves(server):
    commands = re.findall(r"mlflow models serve .*", DOCUMENT.read_text(encoding="utf-8"))
    assert commands
    own = shlex.split(commands[0])
    assert own[1:6] == server.process.args[1:6]
    assert own[own.index("--env-manager") + 1] == "local"


def refusal(server: Server, bad: Bad) -> tuple[int, str]:
    body = bad.body if isinstance(bad.body, str) else json.dumps(bad.body)
    status, content = server.send(body.encode(), bad.content_type)
    with contextlib.suppress(ValueError):
        content = json.loads(content)["message"]
    # MLflow prints a set, whose order differs from process to process
    content = re.sub(r"{'[^{}:]+'}", lambda found: "{" + ", ".join(sorted(found[0][1:-1].split(", "))) + "}", content)
    return status, " ".join(content.split())


def test_the_table_of_bad_requests_in_the_document_is_what_the_server_says(server):
    rows = ["| request | status | answer |", "|---|---|---|"]
    for bad in BAD:
        status, told = refusal(server, bad)
        assert 400 <= status < 500, (bad.title, status, told)
        assert len(told) < 400, "an answer does not send the request back"
        told = told.replace("|", "\\|").replace("<", "&lt;")
        rows.append(f"| {bad.title} | {status} | {told} |")
    # and it still answers
    assert server.ask(one(image=IMAGE))[0] == 200
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(f"{BEGIN}\n")
    written = f"{before}{BEGIN}\n\n" + "\n".join(rows) + f"\n\n{END}{rest.partition(END)[2]}"
    if os.environ.get("WRITE_DOCS"):
        DOCUMENT.write_text(written, encoding="utf-8")
        text = written
    assert text == written, "run with WRITE_DOCS=1 and look at the difference"

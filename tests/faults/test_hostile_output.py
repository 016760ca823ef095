"""Hostile text on its way out: tables that a spreadsheet opens, pages and cards that a browser shows."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import markdown
import numpy as np
import pytest
from study_folder import write_study_folder
from workshops import picture

from mlproject.card_facts import Facts
from mlproject.cards import card_text
from mlproject.registry import CLASSIFIER, ModelReference
from mlproject.study.report import write_report
from mlproject.study.statistics import analyse

FORMULAS = ("=HYPERLINK(1)", "+1-1", "@SUM(1)", "-2+3", "=cmd|' ;C calc'!A0")
MARKUP = "<img src=x onerror=alert(1)>"
STUDY = """
study: {subjects: '0', seeds: 2, primary: hybrid_0.5_add - real_augmented @ 0, gan_steps: 0, classifier_steps: 0,
        trials: 1}
"""


class Page(HTMLParser):
    """Its elements with their attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]


def assert_asks_for_nothing(page: Page) -> None:
    """No script, no handler, and nothing from another place."""
    assert "script" not in page.tags
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))


def cells_of(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [cell for row in csv.reader(stream) for cell in row]


def runs(cell: str) -> bool:
    """Whether a spreadsheet takes a cell for a formula."""
    return cell[:1] in "=+-@\t\r" and cell != "" and not re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", cell)


@pytest.mark.slow
def test_names_of_images_that_are_formulas_or_markup_through_every_command(desk, fault):
    """File names give image paths and subject ids, which go into every table and page."""
    with (desk.folder / "config.yaml").open("a") as config:
        config.write(STUDY)
    scans = desk.folder / "scans"
    for label, name in enumerate(("normal", "anomalous")):
        (scans / name).mkdir(parents=True)
        for number, begin in enumerate((*FORMULAS, MARKUP, *FORMULAS)):
            cv2.imwrite(str(scans / name / f"{begin}{name[0]}{number}_0.png"), picture(label, number))
    data = ("--data.path", str(scans))
    desk.succeed("prepare_data", *data, "--out", str(desk.folder / "set"))
    desk.succeed("study", *data, "--out", str(desk.folder / "study"))
    desk.succeed("train_classifier", "--data", str(desk.folder / "set"), "--mix", "real")
    desk.succeed("predict", "--images", str(scans / "normal"), "--out", str(desk.folder / "judged"))
    tables = [path for path in desk.folder.rglob("*.csv") if "mlruns" not in path.parts]
    cells = {path: cells_of(path) for path in tables}
    names = {path.name for path, found in cells.items() if any(cell.startswith("'=HYPERLINK") for cell in found)}
    assert {"manifest.csv", "predictions.csv"} <= names
    assert {path: bad for path, found in cells.items() if (bad := [cell for cell in found if runs(cell)])} == {}
    assert_asks_for_nothing(Page((desk.folder / "study" / "report.html").read_text(encoding="utf-8")))
    fault(
        "image files whose names are formulas or HTML, through prepare_data, study and predict",
        f"{len(tables)} tables, such names in {' and '.join(sorted(names))}: an apostrophe before each formula; the "
        "report has no element of theirs",
    )


def test_names_from_files_in_a_report(fault, tmp_path):
    settings = {"seeds": 6, "sizes": (20,), "test_subjects": 16, "val_subjects": 12, "unseen_subjects": 8, "frames": 1}
    folder = write_study_folder(tmp_path / "study", **settings)
    for name in ("predictions.csv", "scores.csv", "design.json"):
        text = (folder / name).read_text().replace("hybrid_0.5_add", MARKUP)
        (folder / name).write_text(text.replace(",A,", ",<script>alert(1)</script>,"))
    cases = folder / "images" / "failures"
    cases.mkdir()
    cv2.imwrite(str(cases / f"{MARKUP}.png"), np.zeros((8, 8), np.uint8))
    text = write_report(folder, analyse(folder)).read_text(encoding="utf-8")
    assert_asks_for_nothing(Page(text))
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    fault(
        "HTML in file names, arms and sites of a study's folder",
        "shown as text in report.html: no element, no handler, nothing that asks a network",
    )


def card_as_page(word: str) -> str:
    """The card of a classifier whose every text from a file is this word, as GitHub and the UI show it."""
    meta = {
        **dict.fromkeys(("data_kind", "mix", "data_digest", "backbone", "threshold", "best_step", "seed"), word),
        "config": dict.fromkeys(("weights", "steps", "class_weighting"), word),
        "class_names": ["normal", word],
        "label_rule": {"rule": "given", "text": word},
        "preprocessing": {"size": word},
        "generator_digest": word,
    }
    tags = {"sha256": "0" * 64, "git_commit": word}
    model = ModelReference(CLASSIFIER, Path(), "0" * 64, meta, "1", "run")
    counts = {word: {"subjects": word, "images": word, "normal": word}}
    facts = Facts(
        False, meta, tags, {f"val.{' '.join(word.split())}": 0.5}, counts=counts, generator_tags={"audit": word}
    )
    return markdown.markdown(card_text(model, facts, [word]), extensions=["tables", "pymdownx.magiclink"])


@pytest.mark.parametrize(
    "attack",
    [
        MARKUP,
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "![x](http://203.0.113.1/x.png)",
        "http://203.0.113.1/x",
        "HTTPS://EVIL.EXAMPLE",
        "www.evil.example/x",
        "someone@evil.example",
        "` <b>x</b> `",
        "a | b \\| c",
        "x\n\n# A heading\n\n| a | b |\n|---|---|\n| c | d |",
    ],
)
def test_texts_of_a_model_in_its_card(fault, attack):
    assert Page(card_as_page(attack)).tags == Page(card_as_page("harmless")).tags
    fault(
        "HTML, links, pictures, addresses, headings or table cells in what a model's files say of it",
        "shown as text in its card: the card has the elements that it has without them",
    )

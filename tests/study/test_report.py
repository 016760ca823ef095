"""The report as a reader meets it: one file that needs nothing else, honest about what it lacks."""

import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from study_folder import write_study_folder

from mlproject.errors import UserError
from mlproject.study.drawing import THEME
from mlproject.study.report import write_report
from mlproject.study.statistics import analyse

XMLNS = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink")
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Elements in order with their attributes, and the text of some."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        for tag in set(self.open):
            self.words.setdefault(tag, []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def add_extras(folder: Path) -> None:
    """The optional files: shortcuts, features, cases, a screening prevalence."""
    generator = np.random.default_rng(0)
    design = json.loads((folder / "design.json").read_text())
    design["config"]["study"] = {"screening_prevalence": 0.05}
    (folder / "design.json").write_text(json.dumps(design))
    rows = [(seed, name, 0.5 + 0.01 * seed) for seed in range(6) for name in ("pixels_16x16", "grey_mean_sd")]
    pd.DataFrame(rows, columns=["seed", "name", "auc"]).to_csv(folder / "shortcuts.csv", index=False)
    features = pd.DataFrame(generator.normal(size=(40, 4)), columns=[f"f{place}" for place in range(4)])
    features.insert(0, "label", np.arange(40) % 2)
    features.insert(0, "kind", np.repeat(["real", "synthetic"], 20))
    features.to_csv(folder / "features.csv", index=False)
    cases = folder / "images" / "failures"
    cases.mkdir()
    for name in ("missed-1.png", "missed-1-gradcam.png"):
        cv2.imwrite(str(cases / name), np.zeros((8, 8), np.uint8))
    row = {"file": "missed-1.png", "overlay": "missed-1-gradcam.png", "kind": "missed", "label": 1, "probability": 0.1}
    pd.DataFrame([row]).to_csv(cases / "cases.csv", index=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "full"
    write_study_folder(folder, seeds=6, sizes=(20, 40), test_subjects=24, val_subjects=16, frames=1)
    add_extras(folder)
    write_report(folder, analyse(folder))
    return folder


@pytest.fixture(scope="module")
def text(study) -> str:
    return (study / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_it_asks_nothing_of_a_network(text, page):
    references = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert references <= set(XMLNS)
    assert not page.all("script")
    for attributes in (found for _, found in page.elements):
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    # and the browser is told to refuse it
    (policy,) = [found["content"] for found in page.all("meta") if found.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy


def test_ids_are_unique_and_every_reference_has_its_target(text, page):
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r"url\(#([^)]+)\)", text))
    for _, attributes in page.elements:
        targets |= {attributes[name][1:] for name in ("href", "xlink:href") if (attributes.get(name) or "")[:1] == "#"}
        targets |= set((attributes.get("aria-labelledby") or "").split())
    assert targets <= set(ids)
    assert {"differences", "calibration", "limits"} <= targets


def test_pictures_say_what_they_show(page):
    assert page.all("img")
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert all(int(attributes["width"]) > 0 for attributes in page.all("img"))
    figures = [attributes for attributes in page.all("svg") if "viewbox" in attributes]
    assert len(figures) == 2 * 7  # seven figures, each for wide screens and for phones
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in figures)


def test_headings_are_in_order_and_landmarks_are_there(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    assert next(attributes for attributes in page.all("a"))["href"] == "#content"  # the skip link comes first
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    (html,) = page.all("html")
    assert html["lang"] == "en"


def test_everything_that_is_opened_is_closed(page):
    assert page.open == []


def test_the_answer_comes_first_and_is_the_analysis_own(study, text, page):
    answer = analyse(study).answer.replace(" %", "\N{NO-BREAK SPACE}%")
    assert answer in "".join(page.words["p"])
    assert text.index('class="answer') < text.index("<nav")
    assert "not clinical" in text
    assert "proxy" in text


def test_every_figure_stands_beside_as_png_with_its_numbers(study, page):
    pictures = {path.stem for path in (study / "figures").glob("*.png")}
    assert pictures == {"forest", "learning", "reliability", "decision", "sites", "shortcuts", "features"}
    for name in pictures:
        assert cv2.imread(str(study / "figures" / f"{name}.png")).shape[1] == 1440
        assert len(pd.read_csv(study / "tables" / f"{name}.csv")) > 0
    downloads = {attributes["download"] for attributes in page.all("a") if "download" in attributes}
    assert {f"{name}.csv" for name in pictures} | {f"{name}.png" for name in pictures} <= downloads
    assert {path.name for path in (study / "tables").iterdir()} <= downloads


def test_the_csv_of_the_contrasts_is_what_the_analysis_found(study):
    primary = analyse(study).primary
    row = pd.read_csv(study / "tables" / "contrasts.csv").iloc[0]
    assert row["mean"] == primary.contrast.mean
    assert row["ci_low"] == primary.contrast.interval.low
    assert row["p_sign_flip"] == primary.contrast.p_sign_flip


def test_both_themes_name_every_colour_and_figures_use_nothing_else(text):
    for name, (light, dark) in THEME.items():
        assert f"--{name}:{light};" in text
        assert f"--{name}:{dark};" in text
    figures = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert not re.findall(r"(?:fill|stroke): ?#[0-9a-f]{3,6}", figures)


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    channels = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("name", [name for name in THEME if name not in ("grid", "surface")])
def test_colours_stand_out_from_the_page(theme, name):
    """4.5 for text, 3 for marks (WCAG 2.2, 1.4.3 and 1.4.11)."""
    brighter, darker = sorted((luminance(THEME[name][theme]), luminance(THEME["surface"][theme])), reverse=True)
    contrast = (brighter + 0.05) / (darker + 0.05)
    assert contrast >= (4.5 if name in ("ink", "muted") else 3)


@pytest.mark.slow
def test_the_same_folder_gives_the_same_page(study, text, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(study, copied)
    assert write_report(copied, analyse(copied)).read_text(encoding="utf-8") == text


def write_small(folder: Path, **changes) -> Path:
    settings = {"seeds": 6, "sizes": (20,), "test_subjects": 16, "val_subjects": 12, "unseen_subjects": 8, "frames": 1}
    return write_study_folder(folder, **{**settings, **changes})


def test_names_from_files_cannot_become_markup(tmp_path):
    folder = write_small(tmp_path / "study")
    attack = "<script>alert(1)</script>"
    for name in ("predictions.csv", "scores.csv"):
        path = folder / name
        path.write_text(path.read_text().replace("hybrid_0.5_add", attack).replace(",A,", ',"<img src=x>$\\alpha$",'))
    design = (folder / "design.json").read_text().replace("hybrid_0.5_add", attack)
    (folder / "design.json").write_text(design.replace("0.1.0", "<b>"))
    cases = folder / "images" / "failures"
    cases.mkdir()
    cv2.imwrite(str(cases / "<img src=x onerror=alert(1)>.png"), np.zeros((8, 8), np.uint8))
    page = Page(write_report(folder, analyse(folder)).read_text(encoding="utf-8"))
    assert not page.all("script")
    assert not [attributes for attributes in page.all("img") if not attributes["src"].startswith("data:")]
    assert not page.all("b")
    assert attack in "".join(page.words["td"] + page.words["th"])


def test_pixels_of_licensed_data_are_not_shown_even_when_the_folder_has_them(tmp_path):
    folder = write_small(tmp_path / "study", data_kind="clinical_frames")
    for kind in ("real", "synthetic"):
        cv2.imwrite(str(folder / "images" / f"{kind}-normal.png"), np.zeros((8, 8), np.uint8))
    (folder / "images" / "failures").mkdir()
    cv2.imwrite(str(folder / "images" / "failures" / "missed-1.png"), np.zeros((8, 8), np.uint8))
    text = write_report(folder, analyse(folder)).read_text(encoding="utf-8")
    page = Page(text)
    assert page.all("img")
    assert all(attributes["alt"].startswith("Grid of synthetic") for attributes in page.all("img"))
    assert "not free to be shown" in text


def test_what_is_missing_is_said(tmp_path):
    folder = write_small(tmp_path / "study", seeds=3, audit=False)
    for name in ("runs.csv", "generators.csv"):
        (folder / name).unlink()
    for path in (folder / "images").iterdir():
        path.unlink()
    text = write_report(folder, analyse(folder)).read_text(encoding="utf-8")
    assert "does not answer yet" in text
    assert "No audit was run" in text
    assert "holds no sample grids" in text
    assert "holds no list of runs" in text
    assert "No screening prevalence was given" in text
    assert "shortcut baselines, a gallery of right and wrong calls, features" in text
    assert not (folder / "figures" / "shortcuts.png").exists()


def test_a_split_and_labels_that_came_with_the_images_are_called_so(tmp_path):
    folder = write_small(tmp_path / "study", data_kind="user_images")
    design = json.loads((folder / "design.json").read_text())
    told = "All seeds share one split"
    for split, one in (("fractions", False), ("given", True)):
        (folder / "design.json").write_text(json.dumps(design | {"split": split, "label_rule": "labels as given"}))
        text = write_report(folder, analyse(folder)).read_text(encoding="utf-8")
        assert (told in text) is one
        assert ("draws its own subjects" in text) is not one
        assert "Label: as it came with the images; its rule is not known. Labels as given." in text
        assert "proxy" not in text


def test_two_seeds_show_no_interval_where_there_is_none_and_no_score_beyond_0_and_1(tmp_path):
    folder = write_small(tmp_path / "study", seeds=2)
    text = write_report(folder, analyse(folder)).read_text(encoding="utf-8")
    assert re.findall(r"[–-]\s\([^)]*to[^)]*\)", text) == []
    assert "too few seeds for an interval" in text
    arms = pd.read_csv(folder / "tables" / "arms.csv")
    assert len(arms)
    assert arms[["ci_low", "ci_high"]].stack().between(0, 1).all()
    temperatures = pd.read_csv(folder / "tables" / "calibration.csv")
    assert (temperatures["ci_low"] >= 0).all()


def test_a_damaged_file_leaves_no_page_behind(tmp_path):
    folder = write_small(tmp_path / "study")
    (folder / "audit.json").write_text("[]")
    with pytest.raises(UserError, match=r"audit.json.*verdict"):
        write_report(folder, analyse(folder))
    assert not (folder / "report.html").exists()
    assert not (folder / "figures").exists()

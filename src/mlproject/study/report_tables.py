"""The report's numbers as tables: what a figure shows and what is written as CSV is the same data frame."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from mlproject.data.checks import CLASS_NAMES
from mlproject.errors import UserError
from mlproject.evaluation.intervals import Interval
from mlproject.evaluation.metrics import binary_metrics
from mlproject.study.contrasts import over_seeds
from mlproject.study.folder import Study, subject_average

AUDIT, SHORTCUTS, FEATURES, RUNS, GENERATORS = (
    "audit.json",
    "shortcuts.csv",
    "features.csv",
    "runs.csv",
    "generators.csv",
)
# {(arm, seed): the fit's subject averages}
Fits = Mapping[tuple[str, int], pd.DataFrame]
_SHORTCUT_TITLES = {
    "pixels_16x16": "16x16 pixels",
    "grey_mean_sd": "Grey mean and spread",
    "box_geometry": "Box geometry",
    "box_width": "Box width",
}
# of an audit in several spaces, what its verdict rests on; the CSV holds everything
_AUDIT_SHOWN = (
    "copies",
    "attack_auc",
    "attack_auc_control",
    "authenticity",
    "authenticity_hold_out",
    "planted",
    "planted_found",
)


def summary_columns(found: Interval) -> dict[str, float]:
    """mean, ci_low, ci_high of a row."""
    return {"mean": found.value, "ci_low": found.low, "ci_high": found.high}


def fits_at(study: Study, subjects: int, split: str) -> dict[tuple[str, int], pd.DataFrame]:
    """Subject averages of every fit at one size with both classes, {(arm, seed): label, probability, subject_id}."""
    rows = study.predictions[(study.predictions["subjects"] == subjects) & (study.predictions["split"] == split)]
    if rows.empty:
        return {}
    grouped = subject_average(rows).groupby(["arm", "seed"], sort=True)
    return {(str(arm), int(seed)): fit for (arm, seed), fit in grouped if fit["label"].nunique() == 2}


def per_arm(
    fits: Fits,
    arms: Sequence[str],
    level: float,
    figure: Callable[[str, int, pd.DataFrame], Mapping[str, float]],
) -> pd.DataFrame:
    """Figures of every fit, averaged over seeds: arm, figure, seeds, mean, ci_low, ci_high.

    All are shares, whose bounds are cut at 0 and 1, but `temperature`, whose bounds are cut at 0.
    """
    rows = []
    for arm in arms:
        found = pd.DataFrame([figure(name, seed, fit) for (name, seed), fit in fits.items() if name == arm])
        rows += [
            {"arm": arm, "figure": str(name), "seeds": len(found), **summary_columns(over_seeds(found[name], level))}
            for name in found.columns
        ]
    table = pd.DataFrame(rows, columns=["arm", "figure", "seeds", "mean", "ci_low", "ci_high"])
    bounds = ["ci_low", "ci_high"]
    table[bounds] = table[bounds].clip(lower=0.0)
    shares = table["figure"] != "temperature"
    table.loc[shares, bounds] = table.loc[shares, bounds].clip(upper=1.0)
    return table


def site_table(study: Study, subjects: int, level: float) -> pd.DataFrame:
    """Test AUC of each arm at each site, sites that training never saw last.

    Returns:
        Columns site, unseen, arm, test_subjects (mean over seeds), seeds, mean, ci_low, ci_high; a fit counts where
        the site has both classes. Empty when no site is named.
    """
    rows = []
    for unseen, predictions in ((False, study.predictions), (True, study.unseen)):
        chosen = predictions[
            (predictions["subjects"] == subjects) & (predictions["split"] != "val") & (predictions["site"] != "")
        ]
        if chosen.empty:
            continue
        fits = subject_average(chosen).groupby(["site", "arm", "seed"], sort=True)
        rows += [
            {
                "site": site,
                "unseen": unseen,
                "arm": arm,
                "seed": seed,
                "test_subjects": len(fit),
                "auc": binary_metrics(fit["label"].to_numpy(), fit["probability"].to_numpy(), 0.5)["auc"],
            }
            for (site, arm, seed), fit in fits
            if fit["label"].nunique() == 2
        ]
    columns = ["site", "unseen", "arm", "test_subjects", "seeds", "mean", "ci_low", "ci_high"]
    if not rows:
        return pd.DataFrame(columns=columns)
    found = []
    for (unseen, site, arm), seeds in pd.DataFrame(rows).groupby(["unseen", "site", "arm"], sort=True):
        scores = over_seeds(seeds["auc"], level, share=True)
        found.append([site, bool(unseen), arm, seeds["test_subjects"].mean(), len(seeds), *vars(scores).values()])
    return pd.DataFrame(found, columns=columns)


def shortcut_table(folder: Path, level: float) -> pd.DataFrame:
    """Test AUCs of linear models that see no anatomy, over seeds; empty where the folder has no shortcuts.csv.

    shortcuts.csv has the columns name and auc, and may have seed, subjects and split; of the splits `test` counts, of
    the sizes the largest. With one row for a name, its own ci_low and ci_high are taken.

    Returns:
        Columns name, title, seeds, mean, ci_low, ci_high.
    """
    columns = ["name", "title", "seeds", "mean", "ci_low", "ci_high"]
    path = folder / SHORTCUTS
    if not path.is_file():
        return pd.DataFrame(columns=columns)
    rows = _read(path, ("name", "auc"))
    if "split" in rows:
        rows = rows[rows["split"] == "test"]
    if "subjects" in rows:
        rows = rows[rows["subjects"] == rows["subjects"].max()]
    found = []
    for name, group in rows.groupby("name", sort=False):
        scores = over_seeds(group["auc"], level, share=True)
        if len(group) == 1 and {"ci_low", "ci_high"} <= set(group):
            scores = Interval(scores.value, float(group["ci_low"].iloc[0]), float(group["ci_high"].iloc[0]))
        found.append([name, _SHORTCUT_TITLES.get(str(name), str(name)), len(group), *vars(scores).values()])
    return pd.DataFrame(found, columns=columns)


def feature_table(folder: Path) -> tuple[pd.DataFrame, tuple[float, float]] | None:
    """Real and synthetic images on the two leading principal components; None where the folder has no features.csv.

    features.csv has kind (real or synthetic), label (0 or 1) and numeric columns f0, f1, ...: one row for an image.
    The components are those of the real images, on standardised features, so that what is synthetic does not choose
    the view.

    Returns:
        Columns kind, class, x, y, and the share of the real images' variance along x and y.
    """
    path = folder / FEATURES
    if not path.is_file():
        return None
    rows = _read(path, ("kind", "label"))
    columns = [name for name in rows.columns if name[:1] == "f" and name[1:].isdigit()]
    real = (rows["kind"] == "real").to_numpy()
    if len(columns) < 2 or real.sum() < 3:
        raise UserError(
            f"{path}: {len(columns)} features and {int(real.sum())} real images; expected at least 2 columns f0, f1, "
            "... and 3 real images"
        )
    values = rows[columns].to_numpy(dtype=np.float64)
    spread = values[real].std(axis=0)
    values = (values - values[real].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    model = PCA(n_components=2, svd_solver="full").fit(values[real])
    points = model.transform(values)
    table = pd.DataFrame(
        {
            "kind": rows["kind"],
            "class": [CLASS_NAMES[int(label)] for label in rows["label"]],
            "x": points[:, 0],
            "y": points[:, 1],
        }
    )
    first, second = model.explained_variance_ratio_.tolist()
    return table, (first, second)


def read_audit(folder: Path) -> dict[str, Any] | None:
    """audit.json: an audit, or a generator's evaluation with one in it; None where the folder has none.

    Raises:
        UserError: it is no JSON with a verdict.
    """
    path = folder / AUDIT
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if "verdict" not in found:
            found = {**found["audit"], "alarms": found.get("alarms", [])}
        str(found["verdict"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no JSON with a verdict ({error!r}); run the audit again") from None
    return found


def audit_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """Every number of an audit as a row: where (such as "pixels, all"), figure, value, ci_low, ci_high, shown."""
    rows: list[list[Any]] = []

    def walk(content: Mapping[str, Any], where: tuple[str, ...]) -> None:
        for name, value in content.items():
            if isinstance(value, Mapping) and "value" in value:
                rows.append([", ".join(where), name, value["value"], value.get("low"), value.get("high")])
            elif isinstance(value, Mapping):
                walk(value, (*where, str(name)) if name not in ("numbers", "spaces") else where)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                rows.append([", ".join(where), name, value, None, None])

    walk(found, ())
    table = pd.DataFrame(rows, columns=["where", "figure", "value", "ci_low", "ci_high"])
    table = table.astype(dict.fromkeys(("value", "ci_low", "ci_high"), float))
    known = table["figure"].isin(_AUDIT_SHOWN) & ~table["where"].str.contains("normal|anomalous")
    # an audit of another form shows all that it has
    table["shown"] = known if known.any() else True
    return table


def run_table(folder: Path) -> pd.DataFrame:
    """runs.csv, sorted; empty where the folder has none."""
    columns = ["seed", "subjects", "arm", "stage", "run_id", "seconds", "reused"]
    path = folder / RUNS
    if not path.is_file():
        return pd.DataFrame(columns=columns)
    return _read(path, tuple(columns))[columns].sort_values(columns[:4], ignore_index=True)


def generator_table(folder: Path) -> pd.DataFrame:
    """generators.csv without columns that are empty; empty where the folder has none."""
    path = folder / GENERATORS
    if not path.is_file():
        return pd.DataFrame()
    return _read(path, ("seed", "subjects")).dropna(axis="columns", how="all")


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, dtype={"run_id": str, "digest": str, "arm": str, "stage": str, "name": str})
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as CSV ({error}); run the study again") from None
    if missing := [name for name in columns if name not in rows.columns]:
        raise UserError(f"{path}: no column {', '.join(missing)}; expected {', '.join(columns)}")
    return rows

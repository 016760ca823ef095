"""Optuna's own pictures of a search: history, parallel coordinates, contour, importance, and the front of two goals."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
import optuna
from matplotlib.axes import Axes
from optuna.trial import FrozenTrial, TrialState

from mlproject.errors import one_line
from mlproject.evaluation.figures import figure_png
from mlproject.tuning.space import Parameter

_WIDTH_IN, _HEIGHT_IN = 9.0, 6.0


def search_pictures(study: optuna.Study, space: Sequence[Parameter]) -> tuple[dict[str, bytes], dict[str, str]]:
    """({name: PNG}, {name: why it could not be drawn}): a picture takes trials that differ, or two parameters."""
    names = [parameter.name for parameter in space]
    two_goals = len(study.directions) > 1

    def auc(trial: FrozenTrial) -> float:
        return float(trial.values[0])

    goal: dict[str, Any] = {"target": auc if two_goals else None, "target_name": "validation AUC"}
    kind = optuna.visualization.matplotlib
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    drawn: dict[str, Callable[[], Any]] = {
        "history": lambda: kind.plot_optimization_history(study, **goal),
        "parallel_coordinate": lambda: kind.plot_parallel_coordinate(study, names, **goal),
        "importance": lambda: kind.plot_param_importances(study, evaluator, names, **goal),
    }
    if len(names) > 1:
        drawn["contour"] = lambda: kind.plot_contour(study, names[:2] if len(names) == 2 else names, **goal)
    if two_goals:
        drawn["pareto_front"] = lambda: kind.plot_pareto_front(study, target_names=["validation AUC", "KID"])
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(finished) < 2:
        return {}, dict.fromkeys(drawn, f"{len(finished)} finished trials; a picture takes two")
    pictures, missing = {}, {}
    for name, draw in drawn.items():
        try:
            pictures[name] = _png(draw)
        # what cannot be drawn of few or equal trials is no reason to lose the search's result
        except (ValueError, RuntimeError, ZeroDivisionError, np.linalg.LinAlgError) as error:
            missing[name] = one_line(error, 200)
    return pictures, missing


def _png(draw: Callable[[], Any]) -> bytes:
    """Optuna draws through pyplot: on a display of none, closed again, and with the user's style left alone."""
    import matplotlib.pyplot as plt

    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("ignore")
        plt.switch_backend("agg")
        try:
            axes: Axes = np.ravel(np.asarray(draw(), dtype=object))[0]
            figure = axes.get_figure(root=True)
            assert figure is not None
            figure.set_size_inches(_WIDTH_IN, _HEIGHT_IN)
            return figure_png(figure)
        finally:
            plt.close("all")

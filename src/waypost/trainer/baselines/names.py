"""The baselines' names, as settings, reports and checkpoints have them."""

from __future__ import annotations

from waypost.settings import TrainerSettings

POPULARITY, ITEM_KNN, IMPLICIT_ALS = "popularity", "item-knn", "implicit-als"
CONTENT, GF_CF, EASE = "content", "gf-cf", "ease"


def gating_baselines(settings: TrainerSettings) -> tuple[str, ...]:
    """Those that a model must not be below."""
    return tuple(dict.fromkeys(settings.gating_baselines.split(",")))


def chosen_baselines(settings: TrainerSettings) -> tuple[str, ...]:
    """Those that are judged beside the model: popularity always, and whatever gates."""
    return tuple(dict.fromkeys((POPULARITY, *settings.baselines.split(","), *gating_baselines(settings))))

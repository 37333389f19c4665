"""Baselines: what a recommender that learns must not lose to, judged on the same users as the model.

Each is fitted on the training part and then scores users against every post (`ScoreUsers`). They are kept small and
plain: what they are for is to be believed.
"""

from waypost.trainer.baselines.cache import BaselineCache
from waypost.trainer.baselines.names import POPULARITY, chosen_baselines, gating_baselines
from waypost.trainer.baselines.ranking import rank_baselines

__all__ = ["POPULARITY", "BaselineCache", "chosen_baselines", "gating_baselines", "rank_baselines"]

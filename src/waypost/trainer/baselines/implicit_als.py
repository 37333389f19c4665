"""Matrix factorisation for implicit feedback by alternating least squares, from the `implicit` library.

Hu, Koren, Volinsky 2008, "Collaborative filtering for implicit feedback datasets", solved by conjugate gradients.
"""

from __future__ import annotations

from threadpoolctl import threadpool_limits

from waypost.graph.tensors import GraphTensors, Int32Array, Interactions
from waypost.model.evaluation import Float32Array, ScoreUsers
from waypost.trainer.baselines.interactions import user_post_matrix

FACTORS, REGULARISATION, CONFIDENCE, ITERATIONS = 128, 50.0, 40.0, 15  # see docs/experiments.md
PARAMETERS = {
    "factors": FACTORS,
    "regularisation": REGULARISATION,
    "confidence": CONFIDENCE,
    "iterations": ITERATIONS,
}


def fit_implicit_als(tensors: GraphTensors, train: Interactions, seed: int) -> ScoreUsers:
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - a second that most nights need not spend

    with threadpool_limits(1, "blas"):  # the library's own threads would fight with those of BLAS
        model = AlternatingLeastSquares(
            factors=FACTORS, regularization=REGULARISATION, alpha=CONFIDENCE, iterations=ITERATIONS, random_state=seed
        )
        model.fit(user_post_matrix(tensors, train), show_progress=False)
    users, posts = model.user_factors, model.item_factors

    def score_users(rows: Int32Array) -> Float32Array:
        scores: Float32Array = users[rows] @ posts.T
        return scores

    return score_users

import numpy as np

from waypost.graph.tensors import NO_TIME, Interactions
from waypost.model.ageing import fit_age_curve, post_birth

DAY = 86_400_000_000


def _interactions(post: list[int], time: list[int]) -> Interactions:
    number = len(post)
    users = np.arange(number, dtype=np.int32)
    return Interactions(users, np.array(post, np.int32), np.zeros(number, np.uint8), np.array(time, np.int64))


def _a_feed() -> tuple[np.ndarray, Interactions]:
    """100 posts, one a day; each is read five times on its first day and once after 30 days."""
    birth = np.arange(100, dtype=np.int64) * DAY
    post = [p for p in range(100) for _ in range(6)]
    time = [int(birth[p]) + after for p in range(100) for after in (*range(0, DAY, DAY // 5), 30 * DAY)]
    return birth, _interactions(post, time)


def test_a_post_is_never_younger_than_its_first_interaction() -> None:
    created_at = np.array([50, NO_TIME, NO_TIME, 10], np.int64)
    assert post_birth(created_at, _interactions([0, 1, 3], [40, 20, 30])).tolist() == [40, 20, NO_TIME, 10]


def test_a_young_post_expects_more_than_an_old_one() -> None:
    birth, interactions = _a_feed()
    curve = fit_age_curve(birth, interactions)
    assert curve is not None
    now = 200 * DAY
    young, old, unknown = curve.offsets(np.array([now, now - 60 * DAY, NO_TIME]), now, now + 7 * DAY)
    assert young > old + 1
    assert unknown == 0


def test_expectations_add_up_to_what_was_seen() -> None:
    birth, interactions = _a_feed()
    curve = fit_age_curve(birth, interactions)
    assert curve is not None
    start, end = int(interactions.created_at.min()), int(interactions.created_at.max())
    offsets = curve.offsets(birth, start, end)
    seen = np.bincount(interactions.post, minlength=100)
    long_exposed = np.exp(offsets[:60]) / np.exp(offsets[:60]).mean()
    assert np.allclose(long_exposed, seen[:60] / seen[:60].mean(), rtol=0.2)


def test_without_times_there_is_no_curve() -> None:
    assert fit_age_curve(np.full(3, NO_TIME), _interactions([0, 1], [NO_TIME, NO_TIME])) is None

"""The exported model against the eager one: whatever is asked, both say the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.factories import some_tables, some_tensors
from waypost.exporter.onnx_graph import IR_VERSION, OPSET, sizes_of, to_onnx
from waypost.exporter.reference import reference_scores
from waypost.model.signature import FORBIDDEN_SCORE, INPUTS, OUTPUTS, Row, pack
from waypost.release.onnx_runner import load_onnx

TENSORS = some_tensors()
TABLES = some_tables(TENSORS)
SIZES = sizes_of(TABLES)
INFER = load_onnx(to_onnx(TABLES), threads=1)

posts = st.lists(st.integers(0, SIZES.num_posts - 1), unique=True)
rows = st.builds(
    Row,
    user_index=st.integers(0, SIZES.num_users),
    recent_posts=posts,
    query_tokens=st.lists(st.integers(0, SIZES.num_tokens - 1), max_size=9),
    profile_tags=st.lists(st.integers(0, SIZES.num_tags - 1), unique=True),
    restricted=st.booleans(),
    allowed_posts=posts,
    blocked_posts=posts,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(rows, min_size=1, max_size=5))
def test_the_exported_model_answers_as_the_eager_one_whatever_is_batched_together(batch: list[Row]) -> None:
    outputs = INFER(dict(pack(batch, SIZES)))
    for row, indices, scores in zip(batch, outputs["post_index"], outputs["score"], strict=True):
        eager = reference_scores(TABLES, row)
        allowed = np.isfinite(eager)
        count = min(int(allowed.sum()), SIZES.num_items)
        assert (scores[:count] > FORBIDDEN_SCORE / 2).all()
        assert (scores[count:] <= FORBIDDEN_SCORE / 2).all()
        np.testing.assert_allclose(scores[:count], np.sort(eager[allowed])[::-1][:count], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(scores[:count], eager[indices[:count]], rtol=1e-4, atol=1e-4)


def test_equal_scores_come_by_ascending_post() -> None:
    flat = some_tables(TENSORS, post_vector=np.ones_like(TABLES.post_vector))
    outputs = load_onnx(to_onnx(flat), threads=1)(dict(pack([Row(1)], SIZES)))
    assert outputs["post_index"][0].tolist() == list(range(SIZES.num_items))


def test_new_neighbours_are_exactly_as_if_the_night_had_known_them() -> None:
    """The user layer with recent posts equals the layer over a state to which those posts were added."""
    recent = [3, 7]
    state, count = TABLES.user_state_sum.copy(), TABLES.user_state_count.copy()
    state[2] += TABLES.post_message[recent].sum(0)
    count[2] += len(recent)
    retrained = some_tables(TENSORS, user_state_sum=state, user_state_count=count)
    now = INFER(dict(pack([Row(2, recent_posts=recent)], SIZES)))
    then = load_onnx(to_onnx(retrained), threads=1)(dict(pack([Row(2)], SIZES)))
    np.testing.assert_allclose(now["score"], then["score"], rtol=1e-5)
    assert now["post_index"].tolist() == then["post_index"].tolist()


@pytest.mark.parametrize("num_tags", [0, 3])
def test_a_graph_without_tags_or_text_exports_too(num_tags: int) -> None:
    tensors = some_tensors(num_tags=num_tags)
    tables = some_tables(tensors, num_tokens=0)
    outputs = load_onnx(to_onnx(tables), threads=1)(dict(pack([Row(1)], sizes_of(tables))))
    np.testing.assert_allclose(outputs["score"][0], np.sort(reference_scores(tables, Row(1)))[::-1], rtol=1e-4)


def test_the_file_keeps_to_what_every_target_loads() -> None:
    model = onnx.load_model_from_string(to_onnx(TABLES))
    assert (model.ir_version, [entry.version for entry in model.opset_import]) == (IR_VERSION, [OPSET])
    assert {node.domain for node in model.graph.node} == {""}
    assert [value.name for value in model.graph.input] == [tensor.name for tensor in INPUTS]
    assert [value.name for value in model.graph.output] == [tensor.name for tensor in OUTPUTS]

"""The model against dense matrices: slow, obvious, and written from the definition."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.nn import SAGEConv

from tests.factories import some_tensors
from waypost.exporter.reference import reference_vector
from waypost.graph.tensors import NO_TIME, Csr, GraphTensors, Interactions, csr_from_pairs
from waypost.model.adjacency import to_adjacency
from waypost.model.features import VOCABULARY_SIZE
from waypost.model.graphsage import ALPHA, CONTENT, GraphSAGE, RelationConv, Warmth, to_graph
from waypost.model.serving import user_vectors
from waypost.model.signature import Row
from waypost.model.tables import to_serving_tables

DIM = 6


def a_world(num_tags: int = 5) -> GraphTensors:
    """Authors, tags and tokens, and some posts that nobody has read."""
    choose = np.random.default_rng(4)
    words = [choose.integers(0, 50, choose.integers(0, 6)) for _ in range(60)]
    indptr = np.concatenate(([0], np.cumsum([len(row) for row in words])))
    author = np.where(np.arange(60) % 3 == 0, -1, choose.integers(0, 12, 60))
    return some_tensors(
        num_posts=60,
        num_tags=num_tags,
        post_author=author.astype(np.int32),
        post_tokens=Csr(indptr.astype(np.int64), np.concatenate(words).astype(np.int32)),
    )


def a_model(tensors: GraphTensors, layers: int = 2) -> GraphSAGE:
    torch.manual_seed(0)
    model = GraphSAGE(tensors.num_users, tensors.num_posts, tensors.num_tags, VOCABULARY_SIZE, DIM, layers)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def _dense(csr: Csr, num_columns: int) -> Tensor:
    matrix = torch.zeros(csr.num_rows, num_columns)
    for row in range(csr.num_rows):
        for column in csr.row(row):
            matrix[row, column] += 1
    return matrix


def _mean(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(1, keepdim=True).clamp_min(1)


def _vectors_by_dense_matrices(model: GraphSAGE, tensors: GraphTensors) -> tuple[Tensor, Tensor]:
    """(user, post) by the definition of the layers: every relation, every layer, all summed with equal shares."""
    interactions = tensors.interactions
    read = _dense(csr_from_pairs(interactions.user, interactions.post, tensors.num_users), tensors.num_posts)
    read = read / read.sum(1, keepdim=True).clamp_min(1) ** ALPHA
    binary = (read > 0).float()
    symmetric = binary / (binary.sum(1, keepdim=True).clamp_min(1) * binary.sum(0, keepdim=True).clamp_min(1)) ** 0.5
    written = np.flatnonzero(tensors.post_author >= 0)
    wrote = _dense(csr_from_pairs(tensors.post_author[written], written, tensors.num_users), tensors.num_posts)
    tagged = _dense(tensors.post_tags, tensors.num_tags)
    links = {
        "posts_of_user": symmetric,
        "users_of_post": symmetric.T,
        "posts_of_author": _mean(wrote),
        "posts_of_tag": _mean(tagged.T),
        "tags_of_post": _mean(tagged),
    }
    warm_user, warm_post = (binary.sum(1, keepdim=True) > 0), (binary.sum(0)[:, None] > 0)
    user, tag = model.user_id * warm_user, model.tag
    words = _mean(_dense(tensors.post_tokens, VOCABULARY_SIZE)) @ model.token
    post = model.post_id * warm_post + words + _mean(tagged) @ model.tag
    user_total, post_total = user, post
    for conv in model.convs:
        weight = {name: conv[name].lin_l.weight.T for name in CONTENT}  # type: ignore[index]
        new_user = links["posts_of_user"] @ post
        new_user = new_user + links["posts_of_author"] @ post @ weight["posts_of_author"]
        new_post = links["users_of_post"] @ user
        new_post = new_post + links["tags_of_post"] @ tag @ weight["tags_of_post"]
        tag = links["posts_of_tag"] @ post @ weight["posts_of_tag"]
        user, post = new_user, new_post
        user_total, post_total = user_total + user, post_total + post
    share = 1 / (model.layers + 1)
    return user_total * share + model.everyone, post_total * share


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_tables_hold_what_the_layers_define(layers: int) -> None:
    tensors = a_world()
    model = a_model(tensors, layers)
    tables = to_serving_tables(model, tensors, tensors.interactions)
    with torch.no_grad():
        user, post = _vectors_by_dense_matrices(model, tensors)
    served = user_vectors(tables, np.arange(tensors.num_users, dtype=np.int32))
    np.testing.assert_allclose(served[:, :DIM], user.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(tables.post_vector[:, :DIM], post.numpy(), rtol=1e-4, atol=1e-4)


def with_read(tensors: GraphTensors, users: list[int], posts: list[int]) -> Interactions:
    """The interactions, and each of these users with each of these posts."""
    before = tensors.interactions
    user = np.concatenate((before.user, np.repeat(users, len(posts)).astype(np.int32)))
    post = np.concatenate((before.post, np.tile(posts, len(users)).astype(np.int32)))
    both = Interactions(user, post, np.zeros(len(user), np.uint8), np.full(len(user), NO_TIME))
    return both.take(np.lexsort((post, user)))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_recent_posts_at_serving_time_are_a_pass_of_the_user_layer_over_the_graph_with_these_edges(layers: int) -> None:
    """The formula that is served against the last user layer on the enlarged graph; what posts say is the night's."""
    tensors = a_world()
    model = a_model(tensors, layers)
    tables = to_serving_tables(model, tensors, tensors.interactions)
    users = [0, 3, 7]  # the first has no history
    read = set(tensors.interactions.post[np.isin(tensors.interactions.user, users)].tolist())
    recent = [post for post in range(tensors.num_posts) if post not in read][:4]
    now = to_graph(tensors, with_read(tensors, users, recent), VOCABULARY_SIZE)
    with torch.no_grad():
        night = model(to_graph(tensors, tensors.interactions, VOCABULARY_SIZE))
        state = now.relations["posts_of_user"].sum_neighbours(night.message)
        expected = (night.own + state * now.user_degree.clamp_min(1.0) ** -ALPHA).numpy()
    for user in users:
        served = reference_vector(tables, Row(user, recent_posts=recent))[:DIM]
        np.testing.assert_allclose(served, expected[user], rtol=1e-4, atol=1e-5)
        assert np.abs(served - reference_vector(tables, Row(user))[:DIM]).max() > 0.01


def test_with_one_layer_that_is_the_whole_forward_pass() -> None:
    """Where posts speak as loudly as before: how loud they are is counted at night."""
    tensors = a_world()
    model = a_model(tensors, layers=1)
    tables = to_serving_tables(model, tensors, tensors.interactions)
    night, recent = to_graph(tensors, tensors.interactions, VOCABULARY_SIZE), [1, 5, 9]
    now = to_graph(tensors, with_read(tensors, [3, 7], recent), VOCABULARY_SIZE)
    with torch.no_grad():
        told = model(replace(now, post_degree=night.post_degree, typical_scale=night.typical_scale))
        expected = told.own + told.state_sum * now.user_degree.clamp_min(1.0) ** -ALPHA
    for user in (3, 7):
        new = np.setdiff1d(recent, tensors.interactions.post[tensors.interactions.user == user])
        served = reference_vector(tables, Row(user, recent_posts=new.tolist()))[:DIM]
        np.testing.assert_allclose(served, expected[user].numpy(), rtol=1e-4, atol=1e-5)


def test_a_users_state_is_the_sum_of_his_posts_messages() -> None:
    tensors = a_world()
    tables = to_serving_tables(a_model(tensors), tensors, tensors.interactions)
    posts = np.unique(tensors.interactions.post[tensors.interactions.user == 3])
    np.testing.assert_allclose(tables.user_state_sum[3], tables.post_message[posts].sum(0), rtol=1e-5)
    assert tables.user_state_count[3] == len(posts)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_post_without_users_and_author_speaks_as_its_tokens_and_tags_do(layers: int) -> None:
    tensors = a_world()
    tables = to_serving_tables(a_model(tensors, layers), tensors, tensors.interactions)
    read = np.isin(np.arange(60), tensors.interactions.post)
    alone = [p for p in np.flatnonzero(~read & (tensors.post_author < 0)).tolist() if len(tensors.post_tags.row(p))]
    assert alone
    for post in alone:
        message = tables.tag_message[tensors.post_tags.row(post)].mean(0)
        if len(tensors.post_tokens.row(post)):
            message = message + tables.token_message[tensors.post_tokens.row(post)].mean(0)
        np.testing.assert_allclose(tables.post_message[post], message, rtol=1e-4, atol=1e-5)


def test_a_cold_post_is_told_from_content_alone() -> None:
    tensors = a_world()
    model, graph = a_model(tensors), to_graph(tensors, tensors.interactions, VOCABULARY_SIZE)
    cold = Warmth(torch.zeros(60, 1, dtype=torch.bool), torch.ones(12, 1, dtype=torch.bool))
    before = model(graph, cold).post
    with torch.no_grad():
        model.post_id.add_(1.0)
    torch.testing.assert_close(model(graph, cold).post, before)


def test_a_graph_without_tags_text_and_authors_has_vectors_all_the_same() -> None:
    tensors = some_tensors(num_tags=0)
    tables = to_serving_tables(a_model(tensors), tensors, tensors.interactions)
    assert np.isfinite(tables.post_vector).all()
    assert tables.tag_message.shape == (0, DIM + 1)


def test_our_convolution_is_torch_geometrics_over_edge_index() -> None:
    choose = np.random.default_rng(2)
    csr = csr_from_pairs(choose.integers(0, 9, 40), choose.integers(0, 7, 40), 9)
    target = np.repeat(np.arange(9), np.diff(csr.indptr))
    ours, theirs = RelationConv(DIM), SAGEConv((DIM, DIM), DIM, root_weight=False, bias=False)
    theirs.lin_l.load_state_dict(ours.lin_l.state_dict())
    ours_rows, their_rows = (torch.randn(7, DIM, generator=torch.manual_seed(1)).requires_grad_() for _ in range(2))
    expected = theirs((their_rows, torch.zeros(9, DIM)), torch.from_numpy(np.stack([csr.indices, target])).long())
    found = ours(ours_rows, to_adjacency(csr, 7, alpha=1.0))
    torch.testing.assert_close(found, expected)
    weights = torch.randn(9, DIM)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours_rows.grad, their_rows.grad)


def test_the_transposed_relation_is_the_transposed_matrix() -> None:
    choose = np.random.default_rng(2)
    csr = csr_from_pairs(choose.integers(0, 9, 40), choose.integers(0, 7, 40), 9)
    adjacency = to_adjacency(csr, 7, alpha=0.5)
    forward, back = adjacency.aggregate(torch.eye(7)), adjacency.transposed(0.5).aggregate(torch.eye(9))
    torch.testing.assert_close(back, forward.T)

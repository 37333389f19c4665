"""The synthetic travel world as tensors, without a database: what the gate's suite trains its models on."""

from __future__ import annotations

import numpy as np

from waypost.graph.tensors import NO_AUTHOR, GraphTensors, Interactions, csr_from_pairs
from waypost.graph.texts import to_texts
from waypost.local.world_model import KINDS, NO_TAG, World, build_world
from waypost.local.world_text import NUMBERS_PER_POST, PostFacts, title_and_body
from waypost.local.world_words import THEMES, place_name
from waypost.model.features import encode_texts, train_tokenizer

MICROSECONDS = 1_000  # of a millisecond


def a_world(interactions: int, seed: int) -> GraphTensors:
    """The graph that a night would read of `waypost local generate`, tokens included."""
    world = build_world(interactions, seed)
    posts, events, num_posts = world.posts, world.events, world.sizes.posts
    texts = _texts(world, seed)
    names = tuple([theme.name for theme in THEMES] + [place_name(place) for place in range(world.sizes.places)])
    order = np.lexsort((events.at_ms, events.post, events.user))
    return GraphTensors(
        user_ids=np.arange(world.sizes.users, dtype=np.int64) + 1,
        post_ids=np.arange(num_posts, dtype=np.int64) + 1,
        tag_ids=np.arange(len(names), dtype=np.int64) + 1,
        tag_names=names,
        kinds=KINDS,
        post_author=np.where(posts.author < 0, NO_AUTHOR, posts.author).astype(np.int32),
        post_created_at=posts.born_ms * MICROSECONDS,
        post_tags=csr_from_pairs(*_post_tags(world), num_posts),
        interactions=Interactions(
            events.user[order].astype(np.int32),
            events.post[order].astype(np.int32),
            events.kind[order].astype(np.uint8),
            events.at_ms[order] * MICROSECONDS,
        ),
        post_texts=to_texts(texts),
        post_tokens=encode_texts(train_tokenizer(texts), texts),
        kind_weights=(1.0, 2.0, 3.0, 2.0),
    )


def _texts(world: World, seed: int) -> list[str]:
    posts, scenes = world.posts, world.scenes
    numbers = np.random.default_rng(seed).integers(0, 1 << 30, (world.sizes.posts, NUMBERS_PER_POST)).tolist()
    written = []
    for post, row in enumerate(numbers):
        scene, other = posts.scene[post], posts.other_theme[post]
        month = int(posts.born_ms[post] // 2_629_800_000 % 12)
        place, theme = int(scenes.place[scene]), THEMES[scenes.theme[scene]]
        facts = PostFacts(place, theme, None if other == NO_TAG else THEMES[other], month)
        written.append("\n".join(title_and_body(facts, row)))
    return written


def _post_tags(world: World) -> tuple[np.ndarray, np.ndarray]:
    posts = world.posts
    places = np.where(posts.places == NO_TAG, NO_TAG, posts.places + len(THEMES))
    tags = np.concatenate((posts.themes, places), axis=1)
    post, column = np.nonzero(tags != NO_TAG)
    return post, tags[post, column]

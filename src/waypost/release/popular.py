"""popular.json: every post in order of popularity, with its tags, for the gateway to answer from when the model cannot.

The gateway has no numpy and no lookups, so the file is plain JSON: `posts` and `scores` in popularity order, `tags`
from the case-folded name to positions in `posts`, `keys` the types of the app's own ids, which `posts` holds."""

from __future__ import annotations

import orjson

from waypost.release.lookups import Lookups


def to_popular(lookups: Lookups, version: int) -> bytes:
    order = lookups.popular_posts
    position = order.argsort()
    tags: dict[str, set[int]] = {}
    for row, name in enumerate(lookups.tag_names):
        tags.setdefault(name.casefold(), set()).update(position[lookups.tag_posts.row(row)].tolist())
    return orjson.dumps(
        {
            "version": version,
            "keys": lookups.key_types._asdict(),
            "posts": lookups.posts_at(order),
            "scores": lookups.popularity[order].tolist(),
            "tags": {name: sorted(positions) for name, positions in sorted(tags.items())},
        }
    )

"""What a new popularity list and its filters cost the gateway's event loop: `python -m bench.popular_list`.

200,000 posts with three of 2,000 tags each, and 100,000 posts with fifty of 100. A stall is the longest time that a
thread which wakes each half millisecond was kept from running while another one parsed its process' first list.
"""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Callable

import orjson

from waypost.gateway.popular import PopularList, parse_popular
from waypost.questions import Question, TagFilter

ROUNDS, ANSWERS, BLINK_SECONDS = 5, 10, 0.0005
WORLDS = ((200_000, 3, 2_000), (100_000, 50, 100))  # posts, tags a post, tags


def a_list(posts: int, tags_each: int, tags: int) -> bytes:
    choose = random.Random(1)
    sizes = [min(posts, max(1, int(posts * tags_each / tags * 2 * choose.random()))) for _ in range(tags)]
    return orjson.dumps(
        {
            "version": 1,
            "posts": list(range(1_000, 1_000 + posts)),
            "scores": sorted((choose.random() for _ in range(posts)), reverse=True),
            "tags": {f"tag{i}": sorted(choose.sample(range(posts), size)) for i, size in enumerate(sizes)},
        }
    )


def stall(parse: Callable[[bytes], object], body: bytes) -> float:
    """Milliseconds, in a process that has not parsed before: a list comes once a night, into fresh memory."""
    fresh = multiprocessing.get_context("fork")
    receiving, sending = fresh.Pipe(duplex=False)
    process = fresh.Process(target=lambda: sending.send(_stall(parse, body)))
    process.start()
    worst: float = receiving.recv()
    process.join()
    return worst * 1_000


def _stall(parse: Callable[[bytes], object], body: bytes) -> float:
    held: list[object] = []
    other, worst, last = threading.Thread(target=lambda: held.append(parse(body))), 0.0, time.perf_counter()
    other.start()  # already waits for the interpreter
    while not held:
        now = time.perf_counter()
        worst, last = max(worst, now - last), now
        time.sleep(BLINK_SECONDS)
    return max(worst, time.perf_counter() - last)


def filters(popular: PopularList) -> dict[str, Question]:
    names = sorted(popular.tags, key=lambda name: -len(popular.tags[name]))
    rare = tuple(name for name in names if len(popular.tags[name]) < len(popular.posts) / 128)[:50]
    posts = popular.posts
    return {
        "no filter": Question(1),
        "one tag": Question(1, tags=TagFilter(any=(names[0],))),
        "any of the 50 most frequent tags": Question(1, tags=TagFilter(any=tuple(names[:50]))),
        "any and none of 50 rarer tags": Question(1, tags=TagFilter(any=rare, none=rare[::-1])),
        "10,000 excluded, 200 recent": Question(
            1, k=100, exclude_post_ids=tuple(posts[:10_000]), recent_post_ids=tuple(posts[10_000:10_200])
        ),
    }


def main() -> None:
    for world in WORLDS:
        body = a_list(*world)
        print(f"{world[0]:,} posts, {world[1]} of {world[2]:,} tags each, {len(body) / 1e6:.0f} MB")
        for name, parse in (("orjson.loads", orjson.loads), ("parse_popular", parse_popular)):
            stalls = sorted(stall(parse, body) for _ in range(ROUNDS))
            print(f"  {name:40} stalls {stalls[len(stalls) // 2]:.1f} ms ({stalls[0]:.1f} to {stalls[-1]:.1f})")
        popular = parse_popular(body)
        for name, question in filters(popular).items():
            began = time.perf_counter()
            for _ in range(ANSWERS):
                popular.items(question)
            print(f"  {name:40} {(time.perf_counter() - began) / ANSWERS * 1_000:.2f} ms an answer")


if __name__ == "__main__":
    main()

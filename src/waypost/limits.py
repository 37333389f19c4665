"""How large one question may be. The gateway refuses more at its door, the worker distrusts more on the queue."""

from __future__ import annotations

MIN_ID, MAX_ID = -(2**63), 2**63 - 1  # ids are Postgres' bigint
MAX_KEY_CHARACTERS = 512  # of a text key: the longest slug is far shorter, and an answer of 100 of them fits a reply
MIN_K, MAX_K = 1, 100
MAX_RECENT = 200
MAX_EXCLUDE = 10_000
MAX_TAGS = 50  # in each of any, all and none
MAX_TAG_CHARACTERS = 512  # as of a key; all of them escaped, with all ids, still fit one message of the queue
MAX_QUERY_CHARACTERS = 1_000
MIN_DEADLINE_MS, MAX_DEADLINE_MS = 20, 10_000
MAX_BODY_BYTES = 1 << 20  # of an HTTP body; SQS takes as much for one message and for one batch

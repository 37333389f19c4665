"""What a process says while it runs, on standard error: on a terminal text, elsewhere one JSON object a line.

A line is a fixed sentence and fields: `logger.info("snapshot read", extra={"nodes": n})`. Standard output is never used
here: it belongs to what a verb prints as its result. `lines` is what a line looks like, `writer` how it gets out while
nobody waits, `requests` which requests have one.
"""

from waypost.logs.context import begin_request, request_id
from waypost.logs.lines import cause_of
from waypost.logs.progress import Progress, stage
from waypost.logs.setup import configure, serving, tell_release

__all__ = ["Progress", "begin_request", "cause_of", "configure", "request_id", "serving", "stage", "tell_release"]

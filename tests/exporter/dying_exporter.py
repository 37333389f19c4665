"""An exporter in a process of its own that ends without a word, as by SIGKILL, right after its n-th call to S3."""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn

from tests.exporter.killing import KillingStore
from tests.exporter.nights import run_night
from waypost.objects.s3 import S3ObjectStore, s3_client
from waypost.settings import AwsAccess


def end() -> NoReturn:
    os._exit(9)


if __name__ == "__main__":
    words = json.loads(sys.argv[1])
    store = S3ObjectStore(s3_client(AwsAccess(**words["access"])), words["bucket"])
    run_night(KillingStore(store, words["point"], "after", end), words["name"])

"""What others would write, run by the peers' interpreter: it has neither Waypost nor torch."""

from __future__ import annotations

import hashlib
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import connectorx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
import sqlalchemy

from bench.commands import serve

SELECT = "SELECT user_id, post_id, kind, created_at FROM interactions"


def read_adbc(dsn: str) -> pa.Table:
    with adbc.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(SELECT)
        return cursor.fetch_arrow_table()


def read_connectorx(dsn: str) -> pa.Table:
    return connectorx.read_sql(dsn, SELECT, return_type="arrow")


def read_connectorx_parts(dsn: str) -> pa.Table:
    """As many connections as ours."""
    return connectorx.read_sql(dsn, SELECT, return_type="arrow", partition_on="user_id", partition_num=2)


def read_pandas(dsn: str) -> pd.DataFrame:
    url = dsn.replace("postgresql://", "postgresql+psycopg2://", 1)
    with sqlalchemy.create_engine(url).connect() as connection:
        return pd.read_sql(sqlalchemy.text(SELECT), connection)


def describe_table(table: pa.Table) -> dict[str, Any]:
    return _described(table.num_rows, pc.sum(table["user_id"]).as_py(), pc.sum(table["post_id"]).as_py())


def describe_frame(frame: pd.DataFrame) -> dict[str, Any]:
    return _described(len(frame), frame["user_id"].sum(), frame["post_id"].sum())


def _described(rows: int, users: int, posts: int) -> dict[str, Any]:
    return {"rows": rows, "user_sum": int(users), "post_sum": int(posts)}


_columns: dict[str, Any] = {}


def load_columns(path: str) -> None:
    _columns.update(np.load(path))


Both = tuple[Any, Any, sp.csr_matrix, sp.csr_matrix]  # user ids, post ids, user -> post, post -> user


def build_factorized() -> Both:
    (user, users), (post, posts) = pd.factorize(_columns["user_id"]), pd.factorize(_columns["post_id"])
    return _both(users, posts, user, post)


def build_unique() -> Both:
    users, user = np.unique(_columns["user_id"], return_inverse=True)
    posts, post = np.unique(_columns["post_id"], return_inverse=True)
    return _both(users, posts, user, post)


def _both(users: Any, posts: Any, user: Any, post: Any) -> Both:
    ones = np.ones(len(user), np.float32)
    forward = sp.csr_matrix((ones, (user, post)), shape=(len(users), len(posts)))  # equal pairs are summed
    return users, posts, forward, forward.T.tocsr()


def describe_both(both: Both) -> dict[str, Any]:
    """Rows by ascending id, whatever order they were found in."""
    users, posts, forward, backward = both
    by_user, by_post = np.argsort(users), np.argsort(posts)
    forward, backward = forward[by_user][:, by_post], backward[by_post][:, by_user]
    forward.sort_indices()
    backward.sort_indices()
    arrays = (users[by_user], posts[by_post], forward.indptr, forward.indices, backward.indptr, backward.indices)
    digest = hashlib.sha256(b"".join(np.asarray(array, np.int64).tobytes() for array in arrays))
    return {"sha256": digest.hexdigest()}


if __name__ == "__main__":
    serve(
        {
            "adbc": (read_adbc, describe_table),
            "connectorx": (read_connectorx, describe_table),
            "connectorx_parts": (read_connectorx_parts, describe_table),
            "pandas": (read_pandas, describe_frame),
            "columns": (load_columns, lambda _: {}),
            "factorized": (build_factorized, describe_both),
            "unique": (build_unique, describe_both),
        }
    )

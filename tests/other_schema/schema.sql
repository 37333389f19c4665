-- A travel magazine's tables: nothing in them is named, keyed or split as Waypost's own schema has it.
CREATE SCHEMA magazine;
SET search_path = magazine;

CREATE TABLE accounts (
    uid        uuid PRIMARY KEY,
    email      text NOT NULL,
    joined_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz, -- a soft delete: the row stays
    blocked    boolean NOT NULL DEFAULT false
);
CREATE TABLE articles (
    slug         text PRIMARY KEY,
    owner        uuid REFERENCES accounts,
    state        text NOT NULL DEFAULT 'published', -- draft, published, hidden
    published_at timestamptz,
    headline     text,
    content      text
);
CREATE TABLE topics (
    label text PRIMARY KEY
);
CREATE TABLE article_topics (
    article text REFERENCES articles,
    topic   text REFERENCES topics,
    PRIMARY KEY (article, topic)
);

-- What people do stands in three tables, each with its own words.
CREATE TABLE likes (
    account  uuid NOT NULL REFERENCES accounts,
    article  text NOT NULL REFERENCES articles,
    positive boolean NOT NULL DEFAULT true, -- false: "less of this"
    liked_at timestamptz NOT NULL,
    undone_at timestamptz
);
CREATE TABLE bookmarks (
    who      uuid NOT NULL REFERENCES accounts,
    what     text NOT NULL REFERENCES articles,
    saved_on date NOT NULL
);
CREATE TABLE visits (
    visitor uuid, -- NULL: without a login
    page    text NOT NULL,
    seen_at timestamptz NOT NULL,
    seconds integer NOT NULL
) PARTITION BY RANGE (seen_at);
CREATE TABLE visits_before_2026 PARTITION OF visits FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
CREATE INDEX visits_seen_at_idx ON visits (seen_at);

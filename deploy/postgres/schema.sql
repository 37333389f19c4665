-- The app's schema as Waypost assumes it.
-- Run by the owner; running it again changes nothing.
--
-- Times, authors and texts may be NULL. Ids are the app's own and any bigint. A deleted user or post takes its
-- interactions and tags along; a post outlives its author. interactions has no key: the same user may do the same thing to
-- the same post twice.

CREATE TABLE IF NOT EXISTS users (
    user_id    bigint PRIMARY KEY,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS posts (
    post_id    bigint PRIMARY KEY,
    author_id  bigint,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    title      text,
    body       text,
    CONSTRAINT posts_author_id_fkey FOREIGN KEY (author_id) REFERENCES users ON DELETE SET NULL
);

CREATE TABLE IF NOT EXISTS tags (
    tag_id     bigint PRIMARY KEY,
    name       text,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS post_tags (
    post_id    bigint NOT NULL,
    tag_id     bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (post_id, tag_id),
    CONSTRAINT post_tags_post_id_fkey FOREIGN KEY (post_id) REFERENCES posts ON DELETE CASCADE,
    CONSTRAINT post_tags_tag_id_fkey FOREIGN KEY (tag_id) REFERENCES tags ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS interactions (
    user_id    bigint NOT NULL,
    post_id    bigint NOT NULL,
    kind       text,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT interactions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE,
    CONSTRAINT interactions_post_id_fkey FOREIGN KEY (post_id) REFERENCES posts ON DELETE CASCADE
);

-- A cascading delete looks the children up by these.
CREATE INDEX IF NOT EXISTS posts_author_id_idx ON posts (author_id);
CREATE INDEX IF NOT EXISTS post_tags_tag_id_idx ON post_tags (tag_id);
CREATE INDEX IF NOT EXISTS interactions_user_id_idx ON interactions (user_id);
CREATE INDEX IF NOT EXISTS interactions_post_id_idx ON interactions (post_id);

-- The night reads again what changed, which is mostly of the last days: 24 kB of index, and no row of the others is touched.
CREATE INDEX IF NOT EXISTS interactions_created_at_idx ON interactions USING brin (created_at);

-- What the night may read: these columns and nothing else. Run by the owner, after schema.sql; the role exists already.
GRANT USAGE ON SCHEMA public TO waypost_reader;
GRANT SELECT (user_id, created_at) ON users TO waypost_reader;
GRANT SELECT (post_id, author_id, created_at, title, body) ON posts TO waypost_reader;
GRANT SELECT (tag_id, name) ON tags TO waypost_reader;
GRANT SELECT (post_id, tag_id) ON post_tags TO waypost_reader;
GRANT SELECT (user_id, post_id, kind, created_at) ON interactions TO waypost_reader;

GRANT USAGE ON SCHEMA magazine TO waypost_reader;
GRANT SELECT (uid, deleted_at, blocked) ON magazine.accounts TO waypost_reader;
GRANT SELECT (slug, owner, state, published_at, headline, content) ON magazine.articles TO waypost_reader;
GRANT SELECT (label) ON magazine.topics TO waypost_reader;
GRANT SELECT (article, topic) ON magazine.article_topics TO waypost_reader;
GRANT SELECT (account, article, positive, liked_at, undone_at) ON magazine.likes TO waypost_reader;
GRANT SELECT (who, what, saved_on) ON magazine.bookmarks TO waypost_reader;
GRANT SELECT (visitor, page, seen_at, seconds) ON magazine.visits TO waypost_reader;

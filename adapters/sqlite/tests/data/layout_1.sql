CREATE TABLE items (
    id INTEGER PRIMARY KEY, pk TEXT NOT NULL, sk TEXT NOT NULL, kind TEXT NOT NULL, version INTEGER NOT NULL,
    expires_at INTEGER, index_keys TEXT, fields TEXT, body BLOB NOT NULL, g1pk TEXT, g1sk TEXT, g2pk TEXT,
    g2sk TEXT, g3pk TEXT, g3sk TEXT, g4pk TEXT, g4sk TEXT, g5pk TEXT, g5sk TEXT, g6pk TEXT, g6sk TEXT, g7pk TEXT,
    g7sk TEXT, g8pk TEXT, g8sk TEXT, UNIQUE (pk, sk));
CREATE INDEX items_g1 ON items (g1pk, g1sk, pk, sk) WHERE g1pk IS NOT NULL;
CREATE TABLE feed (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, action TEXT NOT NULL, pk TEXT NOT NULL,
    sk TEXT NOT NULL, kind TEXT NOT NULL, version INTEGER, expires_at INTEGER, index_keys TEXT, fields TEXT,
    body BLOB);
CREATE TABLE tokens (
    token TEXT PRIMARY KEY, digest BLOB NOT NULL, results TEXT NOT NULL, until INTEGER NOT NULL);
CREATE TABLE state (feed TEXT NOT NULL, trimmed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE events (
    log_offset INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    at INTEGER NOT NULL, subject TEXT NOT NULL, data TEXT NOT NULL);
INSERT INTO state (feed) VALUES ('first');
INSERT INTO feed (seq, at, action, pk, sk, kind, body) VALUES (41, 0, 'put', 'p', 'a', 'k', x'01');
INSERT INTO items (pk, sk, kind, version, index_keys, body, g1pk, g1sk)
    VALUES ('p', 'a', 'k', 41, '{"1":["i","j"]}', x'01', 'i', 'j');
PRAGMA application_id = 1398031186;
PRAGMA user_version = 1;

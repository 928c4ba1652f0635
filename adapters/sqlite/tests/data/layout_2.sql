BEGIN TRANSACTION;
CREATE TABLE storycore_events (
        log_offset INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
        at INTEGER NOT NULL, subject TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE storycore_feed (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, action TEXT NOT NULL,
        pk TEXT NOT NULL, sk TEXT NOT NULL, kind TEXT NOT NULL, version INTEGER,
        expires_at INTEGER, index_keys TEXT, fields TEXT, body BLOB);
INSERT INTO "storycore_feed" VALUES(1,1767225600000000,'put','p','over','k',NULL,NULL,NULL,NULL,X'6F766572');
INSERT INTO "storycore_feed" VALUES(2,1767225600000000,'put','p','deleted','k',NULL,NULL,NULL,NULL,X'64656C65746564');
INSERT INTO "storycore_feed" VALUES(3,1767225600000000,'put','p','kept','k',NULL,NULL,'{"1":["i","kept"]}',NULL,X'6B657074');
INSERT INTO "storycore_feed" VALUES(4,1767225600000000,'put','p','expired','k',NULL,1767225660000000,NULL,NULL,X'65787069726564');
INSERT INTO "storycore_feed" VALUES(5,1767225600000000,'put','p','over','k',NULL,NULL,NULL,'{"n":1}',X'6F7665722032');
INSERT INTO "storycore_feed" VALUES(6,1767225600000000,'delete','p','deleted','k',2,NULL,NULL,NULL,NULL);
INSERT INTO "storycore_feed" VALUES(7,1767225600000000,'put','p','once','k',NULL,NULL,NULL,NULL,X'6F6E6365');
CREATE TABLE storycore_items (
        id INTEGER PRIMARY KEY, pk TEXT NOT NULL, sk TEXT NOT NULL,
        kind TEXT NOT NULL, version INTEGER NOT NULL, expires_at INTEGER, index_keys TEXT, fields TEXT,
        body BLOB NOT NULL, g1pk TEXT, g1sk TEXT, g2pk TEXT, g2sk TEXT, g3pk TEXT, g3sk TEXT, g4pk TEXT, g4sk TEXT, g5pk TEXT, g5sk TEXT, g6pk TEXT, g6sk TEXT, g7pk TEXT, g7sk TEXT, g8pk TEXT, g8sk TEXT,
        UNIQUE (pk, sk));
INSERT INTO "storycore_items" VALUES(1,'p','over','k',5,NULL,NULL,'{"n":1}',X'6F7665722032',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "storycore_items" VALUES(3,'p','kept','k',3,NULL,'{"1":["i","kept"]}',NULL,X'6B657074','i','kept',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "storycore_items" VALUES(4,'p','expired','k',4,1767225660000000,NULL,NULL,X'65787069726564',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "storycore_items" VALUES(5,'p','once','k',7,NULL,NULL,NULL,X'6F6E6365',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE storycore_state (feed TEXT NOT NULL, trimmed INTEGER NOT NULL DEFAULT 0, layout INTEGER);
INSERT INTO "storycore_state" VALUES('second',0,2);
CREATE TABLE storycore_tokens (
        token TEXT PRIMARY KEY, digest BLOB NOT NULL, results TEXT NOT NULL, until INTEGER NOT NULL);
INSERT INTO "storycore_tokens" VALUES('t',X'0B51FE01161A5B5B9EA54FCAF73BA4A650EB16CAAAA6369C5D7A424021F61A68','[[7,true]]',1767226200000000);
CREATE INDEX storycore_items_g1 ON storycore_items (g1pk, g1sk, pk, sk)
        WHERE g1pk IS NOT NULL;
CREATE INDEX storycore_items_g2 ON storycore_items (g2pk, g2sk, pk, sk)
        WHERE g2pk IS NOT NULL;
CREATE INDEX storycore_items_g3 ON storycore_items (g3pk, g3sk, pk, sk)
        WHERE g3pk IS NOT NULL;
CREATE INDEX storycore_items_g4 ON storycore_items (g4pk, g4sk, pk, sk)
        WHERE g4pk IS NOT NULL;
CREATE INDEX storycore_items_g5 ON storycore_items (g5pk, g5sk, pk, sk)
        WHERE g5pk IS NOT NULL;
CREATE INDEX storycore_items_g6 ON storycore_items (g6pk, g6sk, pk, sk)
        WHERE g6pk IS NOT NULL;
CREATE INDEX storycore_items_g7 ON storycore_items (g7pk, g7sk, pk, sk)
        WHERE g7pk IS NOT NULL;
CREATE INDEX storycore_items_g8 ON storycore_items (g8pk, g8sk, pk, sk)
        WHERE g8pk IS NOT NULL;
CREATE INDEX storycore_items_expiry ON storycore_items (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX storycore_events_type ON storycore_events (type);
CREATE INDEX storycore_events_subject ON storycore_events (subject);
CREATE INDEX storycore_events_at ON storycore_events (at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('storycore_feed',7);
COMMIT;
PRAGMA application_id = 1398031186;
PRAGMA user_version = 2;

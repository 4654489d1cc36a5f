-- The database of an atlas, version 1. `PRAGMA application_id` is 0x6f707461 ("opta"), `PRAGMA user_version` the version.
-- Numbers of documents and positions count from 0. A position counts a document's tokens, special ones in front included.
-- Statistics leave out padding and special tokens; non-finite values are counted and enter nothing else.

-- One row: what was scanned, with what.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    optrode TEXT NOT NULL,             -- version of the program
    model TEXT NOT NULL,               -- what the model is called
    model_sha256 TEXT NOT NULL,        -- over its files
    job TEXT NOT NULL,                 -- all parameters, the corpus among them, as JSON
    documents INTEGER NOT NULL,
    tokens INTEGER NOT NULL            -- tokens that the statistics count
);

-- Places of the network whose units were scanned.
CREATE TABLE sites (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,         -- blocks.3.mlp.hook_post
    layer INTEGER,
    unit TEXT NOT NULL,                -- neuron, head or direction
    value TEXT NOT NULL,               -- what the number of a unit is, in words
    fires TEXT NOT NULL,               -- when a unit fires, in words
    units INTEGER NOT NULL
);

-- One row per unit, with what people query and sort by. A statistic is NULL where it has no value.
CREATE TABLE units (
    id INTEGER PRIMARY KEY,
    site INTEGER NOT NULL REFERENCES sites,
    number INTEGER NOT NULL,           -- within the site
    count INTEGER NOT NULL,            -- finite values
    non_finite INTEGER NOT NULL,
    mean REAL, std REAL, skewness REAL, kurtosis REAL,   -- population std; excess kurtosis
    min REAL, max REAL,
    fired INTEGER,                     -- tokens at which it fired; heads do not fire
    rate REAL,                         -- share of tokens at which it fired
    q01 REAL, q05 REAL, q25 REAL, q50 REAL, q75 REAL, q95 REAL, q99 REAL,  -- quantiles, to 1/16 relative
    UNIQUE (site, number)
);

-- MLP neurons by layer and number.
CREATE VIEW neurons AS
    SELECT sites.layer AS layer, units.number AS neuron, units.* FROM units JOIN sites ON sites.id = units.site
    WHERE sites.unit = 'neuron';

-- Groups of documents: a language, a skill, a label.
CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    documents INTEGER NOT NULL,
    tokens INTEGER NOT NULL
);

-- What each unit does in each group. Not filled where there is one group only.
CREATE TABLE profiles (
    unit INTEGER NOT NULL REFERENCES units,
    "group" INTEGER NOT NULL REFERENCES groups,
    count INTEGER NOT NULL,
    mean REAL,
    std REAL,
    fired INTEGER,
    rate REAL,
    PRIMARY KEY (unit, "group")
) WITHOUT ROWID;

-- Places in documents that are examples of some unit, each once.
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL,
    position INTEGER NOT NULL,
    "group" INTEGER NOT NULL REFERENCES groups,
    tokens TEXT NOT NULL,              -- token ids around the place, its own among them, as a JSON list
    focus INTEGER NOT NULL,            -- which of `tokens` is its own
    words TEXT NOT NULL,               -- a printable form of every token, as a JSON list
    text TEXT NOT NULL,                -- the same as text
    UNIQUE (document, position)
);

-- Examples of units. Kinds: top (largest first), bottom (smallest first), and bands of a random sample of tokens, named
-- by the quantiles of the unit's values within the sample: q99-100, q95-99, q75-95, q50-75, q00-50.
CREATE TABLE examples (
    unit INTEGER NOT NULL REFERENCES units,
    kind TEXT NOT NULL,
    rank INTEGER NOT NULL,
    value REAL NOT NULL,
    context INTEGER NOT NULL REFERENCES contexts,
    PRIMARY KEY (unit, kind, rank)
) WITHOUT ROWID;
CREATE INDEX examples_by_context ON examples (context);

-- Explanations of units, for other programs to fill in. A scan leaves it empty.
CREATE TABLE labels (
    id INTEGER PRIMARY KEY,
    unit INTEGER NOT NULL REFERENCES units,
    explainer TEXT NOT NULL,           -- who or what wrote it
    text TEXT NOT NULL,
    score REAL,                        -- on held-out examples against negatives
    coverage REAL,                     -- share of the unit's firing that it accounts for
    provenance TEXT NOT NULL           -- how it was made and scored, as JSON
);
CREATE INDEX labels_by_unit ON labels (unit);

-- Full-text search: SELECT rowid FROM contexts_text WHERE contexts_text MATCH 'rabbit' gives ids of contexts.
CREATE VIRTUAL TABLE contexts_text USING fts5(text, content='contexts', content_rowid='id', tokenize='unicode61');
CREATE VIRTUAL TABLE labels_text USING fts5(text, content='labels', content_rowid='id', tokenize='unicode61');
CREATE TRIGGER labels_added AFTER INSERT ON labels BEGIN
    INSERT INTO labels_text (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER labels_removed AFTER DELETE ON labels BEGIN
    INSERT INTO labels_text (labels_text, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER labels_changed AFTER UPDATE ON labels BEGIN
    INSERT INTO labels_text (labels_text, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO labels_text (rowid, text) VALUES (new.id, new.text);
END;

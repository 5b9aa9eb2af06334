-- The ids of the root key that each node wraps with and of the newest that it has, until when if it says nothing more. Another one takes
-- over when all that live have it.
CREATE TABLE root_nodes (
    node BYTEA NOT NULL PRIMARY KEY,
    wraps TEXT NOT NULL,
    newest TEXT NOT NULL,
    until BIGINT NOT NULL
);

-- The newest UTC minute in which a grant was charged (minutes since 1970), and the bytes of that minute: for its rate.
ALTER TABLE usages ADD COLUMN
    minute INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usages ADD COLUMN
    minute_bytes INTEGER NOT NULL DEFAULT 0;

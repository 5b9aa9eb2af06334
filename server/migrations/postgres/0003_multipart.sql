-- The id that a bucket gave an upload in parts, to abort it by.
ALTER TABLE uploads ADD COLUMN multipart TEXT;

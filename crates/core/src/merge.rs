//! RFC 7396 (JSON Merge Patch) over documents that keep the text of every scalar and array.

"""Files, folders and lists in; answers, tables, tags and playlists out."""

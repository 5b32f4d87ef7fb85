"""Classification of files, folders and lists, with results as answers, tables, tags and playlists."""

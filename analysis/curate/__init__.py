"""Labels that look wrong: found by what models answer that never saw the song, shown, judged by a person, corrected."""

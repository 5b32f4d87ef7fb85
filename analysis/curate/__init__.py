"""Label curation: find labels that look wrong, show them to a person, apply the verdicts."""

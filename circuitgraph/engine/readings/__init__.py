"""The compiled programs of analyses, one file for each kind of reading."""

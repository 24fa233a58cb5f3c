"""Files that are wrong on purpose are run by a test, not collected."""

collect_ignore = ["wrong"]

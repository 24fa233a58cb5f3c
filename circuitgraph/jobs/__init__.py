"""Jobs: what is done from end to end, discover to leaderboard, each a call that gives a record."""

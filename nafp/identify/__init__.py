"""A clip in, answers out. The only room that says how a clip is asked."""
